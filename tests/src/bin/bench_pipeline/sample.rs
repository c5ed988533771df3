//! The repository that is built: an expensive layer, then the sources.

use deploymind_tests::git::Entry;

const SOURCES: usize = 200;

/// `seed` decides whether the expensive layer is in the cache, `change` whether the sources are.
pub fn tree(seed: &str, change: &str) -> Vec<Entry> {
    let dockerfile = "\
FROM debian:bookworm-slim
COPY seed /seed
RUN apt-get update \\
    && apt-get install -y --no-install-recommends python3 gcc libc6-dev \\
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY . .
RUN python3 -m compileall -q app
USER nobody
EXPOSE 8000
CMD [\"python3\", \"-m\", \"http.server\", \"8000\"]
";
    let mut files = vec![
        Entry::file("Dockerfile", dockerfile),
        Entry::file(".dockerignore", ".git\n"),
        Entry::file("seed", seed),
        Entry::file("app/change.py", format!("CHANGE = \"{change}\"\n")),
    ];
    for number in 0..SOURCES {
        let line = format!("def f{number}(x):\n    return x * {number}\n\n\n");
        files.push(Entry::file(format!("app/part{number}.py"), line.repeat(50)));
    }
    files
}
