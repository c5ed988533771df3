// Command db makes a vulnerability database that Trivy reads like its own, from invented advisories.
//
//	db <advisories.json> <cache directory> [age]
//
// The cache directory is what `--cache-dir` names. The age (a Go duration, 0 by default) is how long ago the
// database says it was made.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/aquasecurity/trivy-db/pkg/db"
	"github.com/aquasecurity/trivy-db/pkg/metadata"
	"github.com/aquasecurity/trivy-db/pkg/types"
	javadb "github.com/aquasecurity/trivy-java-db/pkg/db"
	bolt "go.etcd.io/bbolt"
	_ "modernc.org/sqlite" // The driver of the Java database.
)

type source struct {
	Bucket string         `json:"bucket"`
	ID     types.SourceID `json:"id"`
	Name   string         `json:"name"`
	URL    string         `json:"url"`
}

type advisory struct {
	Bucket     string   `json:"bucket"`
	Package    string   `json:"package"`
	ID         string   `json:"id"`
	Vulnerable []string `json:"vulnerable"`
	Patched    []string `json:"patched"`
	Fixed      string   `json:"fixed"`
}

type vulnerability struct {
	ID          string `json:"id"`
	Severity    string `json:"severity"`
	Title       string `json:"title"`
	Description string `json:"description"`
}

type input struct {
	Sources         []source        `json:"sources"`
	Advisories      []advisory      `json:"advisories"`
	Vulnerabilities []vulnerability `json:"vulnerabilities"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 || len(args) > 3 {
		return fmt.Errorf("usage: db <advisories.json> <cache directory> [age]")
	}
	age := time.Duration(0)
	if len(args) == 3 {
		var err error
		if age, err = time.ParseDuration(args[2]); err != nil {
			return err
		}
	}
	in, err := read(args[0])
	if err != nil {
		return err
	}
	folder := filepath.Join(args[1], "db")
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := db.Init(folder); err != nil {
		return err
	}
	if err := (db.Config{}).BatchUpdate(func(tx *bolt.Tx) error { return fill(tx, in) }); err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	made := time.Now().UTC().Add(-age)
	if err := java(filepath.Join(args[1], "java-db"), made); err != nil {
		return err
	}
	return metadata.NewClient(folder).Update(metadata.Metadata{
		Version:      db.SchemaVersion,
		UpdatedAt:    made,
		NextUpdate:   made.Add(24 * time.Hour),
		DownloadedAt: made,
	})
}

// An empty one: without it Trivy refuses whatever holds a .jar file.
func java(folder string, made time.Time) error {
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	database, err := javadb.New(folder)
	if err != nil {
		return err
	}
	if err := database.Init(); err != nil {
		return err
	}
	if err := database.Close(); err != nil {
		return err
	}
	client := javadb.NewMetadata(folder)
	return client.Update(javadb.Metadata{
		Version:      javadb.SchemaVersion,
		UpdatedAt:    made,
		NextUpdate:   made.Add(24 * time.Hour),
		DownloadedAt: made,
	})
}

func read(path string) (input, error) {
	var in input
	file, err := os.Open(path)
	if err != nil {
		return in, err
	}
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	return in, decoder.Decode(&in)
}

func fill(tx *bolt.Tx, in input) error {
	writer := db.Config{}
	for _, s := range in.Sources {
		if err := writer.PutDataSource(tx, s.Bucket, types.DataSource{ID: s.ID, Name: s.Name, URL: s.URL}); err != nil {
			return err
		}
	}
	for _, a := range in.Advisories {
		record := types.Advisory{
			FixedVersion:       a.Fixed,
			VulnerableVersions: a.Vulnerable,
			PatchedVersions:    a.Patched,
		}
		if err := writer.PutAdvisory(tx, []string{a.Bucket, a.Package}, a.ID, record); err != nil {
			return err
		}
	}
	for _, v := range in.Vulnerabilities {
		record := types.Vulnerability{Title: v.Title, Description: v.Description, Severity: v.Severity}
		if err := writer.PutVulnerability(tx, v.ID, record); err != nil {
			return err
		}
	}
	return nil
}
