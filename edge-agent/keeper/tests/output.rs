//! A container's output, into bounded files, whatever the container and the disk do.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod support;

use skerry_keeper_protocol::{ExitStatus, LogPolicy, Reply, rotated_log};
use std::path::{Path, PathBuf};
use support::{Node, eventually};

#[test]
fn files_are_rotated_and_bounded() {
    let node = Node::start();
    let mut client = node.client();
    let mut request = node.shell("loud", "yes 0123456789abcdef | head -c 3000000");
    request.log = LogPolicy { max_bytes: 256 * 1024, max_files: 3, ..request.log };
    let dir = request.log.dir.clone();
    client.create(request);
    assert_eq!(client.exit("loud").status, ExitStatus::Code(0));
    let mut names: Vec<String> = Vec::new();
    for file in std::fs::read_dir(&dir).unwrap() {
        let file = file.unwrap();
        assert!(file.metadata().unwrap().len() <= 256 * 1024);
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["1.log", "2.log", "current.log"]);
    // The entries go on from one file to the next without a gap: no line is torn.
    for path in [rotated_log(&dir, 2), rotated_log(&dir, 1)] {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.ends_with("stdout F 0123456789abcdef\n"), "{:?}", &text[text.len() - 60..]);
    }
}

#[test]
fn all_output_is_there_when_the_exit_is_told() {
    let node = Node::start();
    let mut client = node.client();
    for round in 0..10 {
        let name = format!("r{round}");
        client.create(
            node.shell(&name, "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; echo -n end"),
        );
        client.exit(&name);
        let log = node.log(&name);
        assert_eq!(log.len(), 501);
        assert_eq!(log[499], "stdout F line 499");
        assert_eq!(log[500], "stdout F end");
    }
}

#[test]
fn a_line_without_end_is_cut_into_parts() {
    let node = Node::start();
    let mut client = node.client();
    client.create(node.shell("long", "head -c 40000 /dev/zero | tr '\\0' x; echo; echo after"));
    client.exit("long");
    let log = node.log("long");
    let lengths: Vec<usize> = log.iter().map(|line| line.len() - "stdout P ".len()).collect();
    assert_eq!(lengths, [16_384, 16_384, 7232, 5]);
    assert!(log[0].starts_with("stdout P ") && log[2].starts_with("stdout F "));
}

#[test]
fn a_container_that_closes_its_output_costs_nothing() {
    let node = Node::start();
    let mut client = node.client();
    client.create(node.shell("closed", "exec >&- 2>&-; sleep 1000"));
    let cpu = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.keeper.id())).unwrap();
        let fields: Vec<u64> =
            stat.rsplit(')').next().unwrap().split(' ').filter_map(|f| f.parse().ok()).collect();
        // User and system time follow the state and ten numbers.
        fields[10] + fields[11]
    };
    let (before, start) = (cpu(), std::time::Instant::now());
    eventually("half a second passed", || (start.elapsed().as_millis() > 500).then_some(()));
    assert!(cpu() - before <= 2, "the keeper spins");
    client.delete("closed", true).unwrap();
}

struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Self {
        use rustix::mount::{MountFlags, mount};
        std::fs::create_dir_all(at).unwrap();
        mount("tmpfs", at, "tmpfs", MountFlags::empty(), c"size=128k").unwrap();
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).ok();
    }
}

#[test]
fn a_full_disk_loses_lines_and_says_so_but_stops_nothing() {
    let node = Node::start();
    let dir = node.path("logs/full");
    let _disk = SmallDisk::mount(&dir);
    let mut client = node.client();
    let script =
        "trap 'echo after' TERM; yes 0123456789 | head -n 20000; echo full >&2; while :; do sleep 0.05; done";
    client.create(node.shell("full", script));
    eventually("the disk is full", || {
        (std::fs::metadata(dir.join("current.log")).is_ok_and(|file| file.len() >= 128 << 10)).then_some(())
    });
    // Others go on meanwhile.
    client.create(node.shell("other", "echo fine"));
    client.exit("other");
    assert_eq!(node.log("other"), ["stdout F fine"]);
    std::fs::OpenOptions::new().write(true).open(dir.join("current.log")).unwrap().set_len(0).unwrap();
    eventually("the log goes on", || {
        client.signal("full", 15).unwrap();
        let text = std::fs::read_to_string(dir.join("current.log")).unwrap();
        (text.contains("keeper F") && text.contains(" lines lost\n") && text.contains("stdout F after\n"))
            .then_some(())
    });
    assert_eq!(client.delete("full", true), Ok(Reply::Done));
}
