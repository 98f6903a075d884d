//! What containers see: the same whether it lay ready or libcontainer mounted it, and nothing else whatever is in their image.

mod support;

use serde_json::{Value, json};
use skerry_keeper_protocol::{ExitStatus, FailureKind, Request};
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use support::{Client, Node};

/// Tells all that a container can see of its world.
const LOOK: &str = "b=/bin/busybox; cat /proc/self/mountinfo; $b hostname; $b pwd; $b grep -E 'Cap|NoNew|Seccomp:' /proc/self/status; \
    for f in /dev/*; do $b stat -c '%n %F %a %u:%g %t:%T' $f; $b readlink $f; done; \
    $b ls -a /sys/firmware /proc/scsi /proc/acpi 2>/dev/null; $b wc -c < /proc/keys; $b ls / /etc; \
    echo x 2>/dev/null > /proc/sys/kernel/hostname || echo no sysctl; echo x 2>/dev/null > /proc/sysrq-trigger || echo no sysrq; \
    $b touch /proc/scsi/x /sys/x /etc/hosts 2>/dev/null || echo no touch; cat /etc/hosts; $b ls -l /proc/self/fd | $b grep -c null; \
    echo end";

/// Runs it to its end; what it wrote.
fn look(node: &Node, client: &mut Client, request: skerry_keeper_protocol::CreateRequest) -> Vec<String> {
    let name = request.key.as_str().to_owned();
    client.create(request);
    client.exit(&name);
    let mut log = node.log(&name);
    log.retain(|line| line.starts_with("stdout "));
    assert_eq!(log.last().map(String::as_str), Some("stdout F end"), "{log:#?}");
    log
}

/// Lines of a mount table without what counts up, and whose copies the mounts are; all others as they are.
fn comparable(log: &[String]) -> BTreeSet<String> {
    let line = |line: &String| match line.split_once(" - ") {
        Some((mount, source)) => {
            let fields: Vec<&str> = mount.split(' ').collect();
            // The root's own root differs: the two containers have the same image, at the same path.
            format!("{} {} {} - {source}", fields[5], fields[6], fields[7])
        }
        None => line.clone(),
    };
    log.iter().map(line).collect()
}

/// Has libcontainer do it: nothing that lies ready has a propagation of its own.
fn slowly(spec: &mut Value) {
    spec["linux"]["rootfsPropagation"] = json!("slave");
}

#[test]
fn what_lies_ready_is_what_would_be_mounted() {
    let node = Node::start();
    let mut client = node.client();
    let hosts = node.path("hosts");
    std::fs::write(&hosts, "the node's file\n").unwrap();
    let files = [(hosts.as_path(), "/etc/hosts"), (hosts.as_path(), "/run/deep/er/token")];
    for read_only in [false, true] {
        let change = |spec: &mut Value| spec["root"]["readonly"] = json!(read_only);
        let quick = node.ordinary("quick", LOOK, &files, change);
        let quick = look(&node, &mut client, quick);
        let slow = node.ordinary("slow", LOOK, &files, |spec| {
            change(spec);
            slowly(spec);
        });
        let slow = look(&node, &mut client, slow);
        assert_eq!(comparable(&quick), comparable(&slow), "{quick:#?} {slow:#?}");
        assert!(quick.iter().any(|line| line == "stdout F ordinary"), "{quick:#?}");
        let mounts = quick.iter().filter(|line| line.contains(" - ")).count();
        assert!(mounts > 14, "{mounts} mounts: {quick:#?}");
        for name in ["quick", "slow"] {
            client.delete(name, true).unwrap();
            std::fs::remove_dir_all(node.path(&format!("logs/{name}"))).unwrap();
        }
    }
}

#[test]
fn links_of_an_image_lead_nowhere_else() {
    let node = Node::start();
    let mut client = node.client();
    let (file, outside) = (node.path("hosts"), node.path("outside"));
    std::fs::write(&file, "the node's file\n").unwrap();
    std::fs::create_dir(&outside).unwrap();
    let rootfs = node.path("rootfs");
    let put = |name: &str, target: &Path| {
        let path = rootfs.join(name);
        if path.is_dir() && !path.is_symlink() {
            std::fs::remove_dir_all(&path).unwrap();
        } else if path.is_symlink() || path.exists() {
            std::fs::remove_file(&path).unwrap();
        }
        symlink(target, path).unwrap();
    };
    let untouched = || {
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "the node's file\n");
        assert!(!Path::new("/deep").exists());
    };

    // By names that lead out of the image: they end at its root.
    let up = Path::new("../../../../../../../../../..");
    put("etc", &up.join(outside.strip_prefix("/").unwrap()));
    put("run", &outside);
    // The same path below the image's root, where these links then lead.
    std::fs::create_dir_all(rootfs.join(outside.strip_prefix("/").unwrap())).unwrap();
    let files = [(file.as_path(), "/etc/hosts"), (file.as_path(), "/run/deep/er/token")];
    let log = look(
        &node,
        &mut client,
        node.ordinary("up", "cat /etc/hosts /run/deep/er/token; echo end", &files, |_| {}),
    );
    assert_eq!(log[..2], ["stdout F the node's file", "stdout F the node's file"]);
    untouched();
    std::fs::remove_dir_all(rootfs.join(outside.strip_prefix("/").unwrap())).unwrap();

    let mut refused = |name: &str, part: &str| {
        let request = node.ordinary(name, "echo end", &files[..1], |_| {});
        let failure = client.call(Request::Create(Box::new(request))).unwrap_err();
        assert_eq!(failure.kind, FailureKind::CreateFailed, "{}", failure.message);
        assert!(failure.message.contains(part), "{}", failure.message);
        assert_eq!(node.traces(name), Vec::<std::path::PathBuf>::new());
        untouched();
    };
    // Into /proc, where a link can be to anything: nothing is there yet.
    put("etc", Path::new("/proc/self/root/tmp"));
    refused("magic", "cannot mount /etc/hosts");
    put("etc", Path::new("/proc/self"));
    refused("attributes", "cannot mount /etc/hosts");
    std::fs::remove_file(rootfs.join("etc")).unwrap();

    // A link that leads nowhere, and one to itself.
    std::fs::create_dir_all(rootfs.join("etc")).unwrap();
    put("etc/hosts", Path::new("/nowhere"));
    refused("nowhere", "cannot mount /etc/hosts");
    put("etc/hosts", Path::new("hosts"));
    refused("loop", "cannot mount /etc/hosts");
    std::fs::remove_file(rootfs.join("etc/hosts")).unwrap();

    // What is covered by its path must be where that path leads.
    for target in [Path::new("/"), Path::new("/tmp"), &outside] {
        put("proc", target);
        refused("proc", "cannot mount /proc");
    }
    std::fs::remove_file(rootfs.join("proc")).unwrap();
    put("sys", Path::new("tmp"));
    refused("sys", "cannot mount /sys");
    std::fs::remove_file(rootfs.join("sys")).unwrap();

    // Devices may be elsewhere below its root.
    put("dev", &up.join("nowhere"));
    refused("dev", "cannot mount /dev");
    put("dev", Path::new("../../tmp"));
    let log = look(&node, &mut client, node.ordinary("tmp", "echo /tmp/nul*; echo end", &[], |_| {}));
    assert_eq!(log[0], "stdout F /tmp/null");
    untouched();
}

#[test]
fn below_a_containers_root_is_nothing() {
    let node = Node::start();
    let mut client = node.client();
    let script = "cd /; cd ..; cd ../../..; b=/bin/busybox; $b pwd; $b ls -d bin; \
        $b umount -l /dev/shm && echo may unmount; $b umount -l /; echo $($b ls -a /); \
        $b mkdir /tmp/inner; $b chroot /tmp/inner /bin/busybox true 2>/dev/null || echo no program; echo end";
    let all = |spec: &mut Value| {
        let names = ["CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_DAC_OVERRIDE"];
        for set in ["bounding", "effective", "permitted"] {
            spec["process"]["capabilities"][set] = json!(names);
        }
    };
    let log = look(&node, &mut client, node.ordinary("strong", script, &[], all));
    assert!(log.iter().any(|line| line == "stdout F may unmount"), "{log:#?}");
    assert_eq!(log[..2], ["stdout F /", "stdout F bin"]);
    let seen = log.iter().find(|line| line.starts_with("stdout F . ")).unwrap();
    let names: BTreeSet<&str> = seen.split_whitespace().skip(2).collect();
    let image: BTreeSet<&str> = [".", "..", "bin", "dev", "proc", "sys", "tmp"].into();
    assert_eq!(names, image, "its image is what is mounted at its root, whatever it does: {log:#?}");
    assert_eq!(client.inspect("strong").unwrap().key.as_str(), "strong");
    client.create(node.ordinary("ends", "exit 9", &[], |_| {}));
    assert_eq!(client.exit("ends").status, ExitStatus::Code(9));
}
