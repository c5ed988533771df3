use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

const LIMIT: u64 = 1 << 20;

fn tree(files: &[&str]) -> TempDir {
    let tree = TempDir::new().expect("tree");
    for file in files {
        let full = tree.path().join(file);
        fs::create_dir_all(full.parent().expect("parent")).expect("folder");
        let text = if file.contains("ockerfile") { "FROM scratch" } else { file };
        fs::write(full, text).expect("write");
    }
    tree
}

fn paths(context: &Context) -> Vec<String> {
    context.items.iter().map(|item| shown(&item.path)).collect()
}

fn refused(tree: &TempDir, dockerfile: &str) -> Error {
    match survey(tree.path(), Dockerfile::InTree(dockerfile), UsedBuilder::BuildKit, LIMIT) {
        Err(error) => error,
        Ok(context) => panic!("{context:?}"),
    }
}

#[test]
fn the_order_is_stable_and_the_dockerfile_goes_along_in_any_case() {
    let tree = tree(&["z", "docker/app.Dockerfile", "docker/other", "a/b", "a.b"]);
    fs::write(tree.path().join(".dockerignore"), "docker\nz\n").expect("write");
    let context =
        survey(tree.path(), Dockerfile::InTree("./docker//app.Dockerfile"), UsedBuilder::Classic, LIMIT);
    let context = context.expect("context");
    assert_eq!(context.dockerfile, "docker/app.Dockerfile");
    assert_eq!(paths(&context), [".dockerignore", "a", "a.b", "a/b", "docker/app.Dockerfile"]);
}

#[test]
fn buildkit_prefers_the_ignore_file_of_the_dockerfile() {
    let tree = tree(&["Dockerfile", "one", "two"]);
    fs::write(tree.path().join(".dockerignore"), "one").expect("write");
    fs::write(tree.path().join("Dockerfile.dockerignore"), "two\n*ignore").expect("write");
    let of = |builder| {
        paths(&survey(tree.path(), Dockerfile::InTree("Dockerfile"), builder, LIMIT).expect("context"))
    };
    assert_eq!(of(UsedBuilder::BuildKit), ["Dockerfile", "one"]);
    assert_eq!(of(UsedBuilder::Classic), [".dockerignore", "Dockerfile", "Dockerfile.dockerignore", "two"]);
}

#[test]
fn a_dockerfile_must_be_a_text_inside_the_tree() {
    let tree = tree(&["folder/x", "real"]);
    let root = tree.path();
    fs::write(root.join("binary"), b"FROM \xff").expect("write");
    fs::write(root.join("long"), vec![b'#'; 600 * 1024]).expect("write");
    symlink("/etc/passwd", root.join("out")).expect("link");
    symlink("..", root.join("up")).expect("link");
    symlink("nowhere", root.join("dangling")).expect("link");
    nix::sys::stat::mknod(
        &root.join("pipe"),
        nix::sys::stat::SFlag::S_IFIFO,
        nix::sys::stat::Mode::S_IRWXU,
        0,
    )
    .expect("pipe");
    for (path, code) in [
        ("missing", Code::DockerfileInvalid),
        ("folder", Code::DockerfileInvalid),
        ("binary", Code::DockerfileInvalid),
        ("long", Code::DockerfileInvalid),
        ("dangling", Code::DockerfileInvalid),
        ("pipe", Code::DockerfileInvalid),
        ("real/x", Code::DockerfileInvalid),
        ("../x", Code::DockerfileInvalid),
        ("/etc/passwd", Code::DockerfileInvalid),
        ("", Code::DockerfileInvalid),
        ("out", Code::TreeEscapes),
        ("up/x", Code::DockerfileInvalid),
    ] {
        assert_eq!(refused(&tree, path).code(), code, "{path}");
    }
    fs::write(root.join("real"), "FROM scratch").expect("write");
    symlink("real", root.join("inside")).expect("link");
    survey(root, Dockerfile::InTree("inside"), UsedBuilder::BuildKit, LIMIT).expect("a link inside is fine");
}

#[test]
fn a_dockerfile_without_a_stage_never_reaches_the_engine() {
    for text in [
        "",
        "# FROM x",
        "ARG x",
        "ARG x\nARG y=1",
        "ARG x \\\nFROM y",
        "ARG x \\ \t\r\n\n# c\n  FROM y",
        "RUN x\nFROM y",
        "# escape=`\nARG x=`\nFROM y",
        "FROMAGE x",
        "LABEL a=b",
    ] {
        assert!(begins_with_stage(text).is_err(), "{text:?}");
    }
    for text in [
        "FROM x",
        "\u{feff}from x",
        "# syntax=a\n\nARG V=1\r\nFROM x:$V\r\n",
        "ARG a \\\n b\n\tFROM x",
        "FROM\tx",
    ] {
        assert!(begins_with_stage(text).is_ok(), "{text:?}");
    }
}

#[test]
fn an_ignore_file_that_leads_out_is_not_read() {
    let tree = tree(&["Dockerfile"]);
    symlink("/etc/passwd", tree.path().join(".dockerignore")).expect("link");
    assert_eq!(refused(&tree, "Dockerfile").code(), Code::TreeEscapes);
}

#[test]
fn a_tree_that_is_too_deep_or_too_large_is_refused() {
    let tree = tree(&["Dockerfile", "small"]);
    let deep = "d/".repeat(DEPTH + 2);
    fs::create_dir_all(tree.path().join(&deep)).expect("folders");
    assert_eq!(refused(&tree, "Dockerfile").code(), Code::ContextTooLarge);
    fs::remove_dir_all(tree.path().join("d")).expect("remove");
    fs::File::create(tree.path().join("big\u{1b}[31m"))
        .and_then(|file| file.set_len(3 << 20))
        .expect("sparse");
    let error = refused(&tree, "Dockerfile");
    assert!(error.sentence().contains("3.0 MiB") && error.sentence().contains("big?[31m"), "{error}");
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_sent_breaks_the_stream_off() {
    use futures::StreamExt;
    let tree = tree(&["Dockerfile", "data"]);
    let context =
        survey(tree.path(), Dockerfile::InTree("Dockerfile"), UsedBuilder::Classic, LIMIT).expect("context");
    fs::write(tree.path().join("data"), "").expect("shrink");
    let (stream, writer) = crate::build::tarball::stream(context);
    let pieces: Vec<_> = std::pin::pin!(stream).collect().await;
    assert!(pieces.last().is_some_and(Result::is_err));
    assert_eq!(writer.finish().await.expect_err("changed").code(), Code::WorkspaceFailed);
}
