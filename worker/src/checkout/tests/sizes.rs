//! Too much: by size, by number, by what is sent, and by what it would unfold to.

use super::*;

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_blob_that_compresses_to_nothing_is_refused_unwritten() {
    let server = GitServer::start().await;
    let entries = [
        Entry::file("data/zeros.bin", vec![0; 200 << 20]),
        Entry::file("small", "1"),
        Entry::file("middle", vec![1; 1 << 20]),
    ];
    server.repository("app.git").commit("main", "x", &entries);
    let mut bench = Bench::new(&server.url("app.git"), branch("main"));
    bench.request.limits.bytes = 50 * MIB;
    let said = sentence(bench.checkout().await);
    assert!(said.starts_with("DM-4108"), "{said}");
    for part in ["201.0 MiB", "50.0 MiB", "data/zeros.bin (200.0 MiB), middle (1.0 MiB)"] {
        assert!(said.contains(part), "{said}");
    }
    bench.request.limits.bytes = 300 * MIB;
    assert_eq!(bench.checkout().await.expect("within the limit").bytes, 201 * MIB + 1);
}

#[tokio::test]
async fn a_pack_that_does_not_compress_is_stopped_on_the_way() {
    let server = GitServer::start().await;
    let mut noise = vec![0_u8; 12 << 20];
    let mut state = 1_u64;
    for byte in &mut noise {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state.to_le_bytes()[0];
    }
    server.repository("app.git").commit("main", "x", &[Entry::file("noise", noise)]);
    let mut bench = Bench::new(&server.url("app.git"), branch("main"));
    bench.request.limits.bytes = 4 * MIB;
    let said = sentence(bench.checkout().await);
    assert!(said.starts_with("DM-4108") && said.contains("sends more than 5.5 MiB"), "{said}");
}

#[tokio::test]
async fn files_are_counted() {
    let server = GitServer::start().await;
    let repository = server.repository("app.git");
    let entries: Vec<Entry> = (0..101).map(|n| Entry::file(format!("d/{n}"), "same")).collect();
    repository.commit("main", "x", &entries);
    let mut bench = Bench::new(&server.url("app.git"), branch("main"));
    bench.request.limits.files = 100;
    assert!(sentence(bench.checkout().await).contains("more than 100 files"));
    bench.request.limits.files = 101;
    assert_eq!(bench.checkout().await.expect("within the limit").files, 101);
}
