use std::fs;
use std::time::Duration;

use super::*;

/// 2026-01-02T03:04:00Z in milliseconds.
const START: u64 = 1_767_323_040_000;

fn line(second: u32, text: &str) -> String {
    format!("2026-01-02T03:04:{second:02}.000000000Z stdout F {text}\n")
}

fn write(dir: &Path, name: &str, seconds: std::ops::Range<u32>) {
    let text: String = seconds.map(|second| line(second, &second.to_string())).collect();
    fs::write(dir.join(name), text).unwrap();
}

/// Rotates as the keeper does and begins a file.
fn rotate(dir: &Path, text: &str) {
    for age in (1..4).rev() {
        fs::rename(dir.join(format!("{age}.log")), dir.join(format!("{}.log", age + 1))).ok();
    }
    fs::rename(dir.join("current.log"), dir.join("1.log")).unwrap();
    fs::write(dir.join("current.log"), text).unwrap();
}

fn append(dir: &Path, text: &str) {
    use std::io::Write;
    fs::File::options()
        .append(true)
        .open(dir.join("current.log"))
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

async fn all(dir: &Path, query: LogQuery) -> Vec<String> {
    let mut reader = LogReader::open(dir, query).await.unwrap();
    let mut texts = Vec::new();
    loop {
        let entries = reader.next().await.unwrap();
        if entries.is_empty() {
            return texts;
        }
        texts.extend(entries.into_iter().map(|entry| String::from_utf8(entry.text).unwrap()));
    }
}

async fn next_texts(reader: &mut LogReader) -> Vec<String> {
    let entries = tokio::time::timeout(Duration::from_secs(10), reader.next()).await.unwrap().unwrap();
    entries.into_iter().map(|entry| String::from_utf8(entry.text).unwrap()).collect()
}

#[tokio::test(flavor = "current_thread")]
async fn a_log_is_read_over_its_files() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "2.log", 0..3);
    write(dir.path(), "1.log", 3..5);
    write(dir.path(), "current.log", 5..8);
    let check = async |tail, since: Option<u64>, expect: std::ops::Range<u32>| {
        let query = LogQuery { tail, since: since.map(|s| WallTime(START + s)), follow: false };
        let expect: Vec<String> = expect.map(|n| n.to_string()).collect();
        assert_eq!(all(dir.path(), query).await, expect, "{query:?}");
    };
    check(None, None, 0..8).await;
    check(Some(0), None, 0..0).await;
    check(Some(1), None, 7..8).await;
    check(Some(3), None, 5..8).await;
    check(Some(4), None, 4..8).await;
    check(Some(7), None, 1..8).await;
    check(Some(100), None, 0..8).await;
    check(None, Some(4_000), 4..8).await;
    check(None, Some(4_001), 5..8).await;
    check(Some(2), Some(1_000), 6..8).await;
    check(None, Some(60_000), 0..0).await;
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_no_entry_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    assert!(all(&dir.path().join("absent"), LogQuery::default()).await.is_empty());
    fs::write(dir.path().join("current.log"), format!("torn\n\n{}unfinished", line(1, "good"))).unwrap();
    fs::write(dir.path().join("other.log"), line(0, "foreign")).unwrap();
    assert_eq!(all(dir.path(), LogQuery::default()).await, ["good"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_follower_sees_every_line_over_rotations() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "current.log", 0..1);
    let query = LogQuery { follow: true, ..LogQuery::default() };
    let mut reader = LogReader::open(dir.path(), query).await.unwrap();
    assert_eq!(next_texts(&mut reader).await, ["0"]);
    append(dir.path(), &line(1, "half")[..40]);
    append(dir.path(), &line(1, "half")[40..]);
    assert_eq!(next_texts(&mut reader).await, ["half"]);
    append(dir.path(), &line(2, "last of the first"));
    rotate(dir.path(), &line(3, "second"));
    rotate(dir.path(), &line(4, "third"));
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(next_texts(&mut reader).await);
    }
    assert_eq!(seen, ["last of the first", "second", "third"]);
    fs::remove_dir_all(dir.path()).unwrap();
    assert!(next_texts(&mut reader).await.is_empty(), "a removed log ends");
}

#[tokio::test(flavor = "current_thread")]
async fn a_follower_may_come_before_the_container() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("later");
    let query = LogQuery { follow: true, tail: Some(10), since: None };
    let mut reader = LogReader::open(&log, query).await.unwrap();
    let writer = async {
        tokio::task::yield_now().await;
        write(&log, "current.log", 0..2);
    };
    let (texts, ()) = tokio::join!(next_texts(&mut reader), writer);
    assert_eq!(texts.first().map(String::as_str), Some("0"));
}

#[tokio::test(flavor = "current_thread")]
async fn a_tail_for_people_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = (0..50).map(|second| line(second, "å long line of text")).collect();
    fs::write(dir.path().join("current.log"), text).unwrap();
    let tail = tail_text(dir.path(), WallTime(START), 100).await.unwrap();
    assert!(tail.len() <= 100 && tail.ends_with("å long line of text\n"), "{tail}");
    let tail = tail_text(dir.path(), WallTime(START + 49_000), 100).await.unwrap();
    assert_eq!(tail, "å long line of text\n");
}
