//! The default system call filter: what is listed is allowed, everything else fails with EPERM.
//!
//! One list for x86-64 and aarch64: a name that an architecture does not have is skipped when the filter is made. Only the native
//! architecture is let in: a program for another one of the same processor is killed by its first call.

use serde_json::{Value, json};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// All namespace flags of `clone` (linux/sched.h). `CLONE_NEWTIME` is not among them: `clone` reads that bit as part of the exit
/// signal, only `clone3` and `unshare` take it.
const CLONE_NAMESPACES: u64 = 0x7E02_0000;
/// The first address family that is not for ordinary programs: kernel crypto, then virtual machine and cluster sockets.
const AF_ALG: u64 = 38;

/// Files, directories and their attributes.
const FILES: &str = "\
    access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 \
    fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr \
    flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents \
    getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl \
    lchown lgetxattr link linkat listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat \
    mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pread64 preadv preadv2 \
    pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr removexattrat rename \
    renameat renameat2 rmdir sendfile setxattr setxattrat splice stat statfs statx symlink symlinkat \
    sync sync_file_range syncfs tee truncate umask unlink unlinkat utime utimensat utimes vmsplice write \
    writev cachestat";

/// Waiting, events and pipes.
const EVENTS: &str = "\
    epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 io_cancel \
    io_destroy io_getevents io_pgetevents io_setup io_submit pipe pipe2 poll ppoll pselect6 select \
    signalfd signalfd4";

/// Memory.
const MEMORY: &str = "\
    brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap \
    mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect \
    process_madvise process_mrelease remap_file_pages";

/// Processes, threads, credentials and limits. What changes credentials is bounded by the capability set.
const PROCESSES: &str = "\
    alarm arch_prctl capget capset execve execveat exit exit_group fork futex futex_requeue futex_wait \
    futex_waitv futex_wake get_robust_list get_thread_area getcpu getegid geteuid getgid getgroups \
    getpgid getpgrp getpid getppid getpriority getresgid getresuid getrlimit getrusage getsid gettid \
    getuid ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self \
    pause pidfd_open pidfd_send_signal prctl prlimit64 restart_syscall rseq rt_sigaction rt_sigpending \
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo \
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam \
    sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam \
    sched_setscheduler sched_yield seccomp set_robust_list set_thread_area set_tid_address setfsgid \
    setfsuid setgid setgroups setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid \
    setuid sigaltstack tgkill time times tkill vfork wait4 waitid";

/// Clocks and timers, as far as they only read or wait.
const TIME: &str = "\
    adjtimex clock_adjtime clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep \
    setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create \
    timerfd_gettime timerfd_settime";

/// Sockets, once made, and System V and POSIX messages.
const MESSAGES: &str = "\
    accept accept4 bind connect getpeername getsockname getsockopt listen mq_getsetattr mq_notify \
    mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd recvfrom recvmmsg recvmsg \
    semctl semget semop semtimedop sendmmsg sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown \
    socketpair";

/// Facts about the machine.
const FACTS: &str = "\
    getrandom sysinfo uname";

const ALWAYS: [&str; 7] = [FILES, EVENTS, MEMORY, PROCESSES, TIME, MESSAGES, FACTS];

/// What one capability opens. The kernel checks the capability too; a filter that lets through what cannot succeed would only be
/// a larger surface.
const BY_CAPABILITY: &[(&str, &str)] = &[
    ("CAP_BPF", "bpf"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_PERFMON", "perf_event_open"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone fanotify_init fanotify_mark fsconfig fsmount fsopen fspick mount mount_setattr \
         move_mount open_tree perf_event_open pivot_root quotactl setdomainname sethostname setns \
         swapoff swapon syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_NICE", "get_mempolicy mbind migrate_pages move_pages set_mempolicy"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_vm_readv process_vm_writev ptrace"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime settimeofday stime"),
    ("CAP_SYSLOG", "syslog"),
];

/// The `seccomp` section of a runtime specification for a container with these capabilities (`CAP_…`).
pub(super) fn filter(architecture: &str, capabilities: &[&str]) -> Value {
    let opened = BY_CAPABILITY.iter().filter(|(capability, _)| capabilities.contains(capability));
    let lists = ALWAYS.iter().chain(opened.map(|(_, calls)| calls));
    let mut names: Vec<&str> = lists.flat_map(|calls| calls.split_whitespace()).collect();
    names.sort_unstable();
    names.dedup();
    let mut rules = vec![json!({"names": names, "action": "SCMP_ACT_ALLOW"})];
    if !names.contains(&"clone") {
        rules.push(clone_without_namespaces());
    }
    rules.push(json!({
        // Its flags lie in memory, where a filter cannot look; told that it does not exist, libraries fall back to `clone`.
        "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS,
    }));
    rules.push(json!({
        "names": ["socket"], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": AF_ALG, "op": "SCMP_CMP_LT"}],
    }));
    rules.extend(PERSONALITIES.iter().map(|persona| {
        json!({
            "names": ["personality"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": persona, "op": "SCMP_CMP_EQ"}],
        })
    }));
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": [scmp_architecture(architecture)],
        "syscalls": rules,
    })
}

/// Plain Linux, 32-bit `uname`, both with the kernel's version shown as 2.6, and the question what it is.
const PERSONALITIES: &[u64] = &[0x0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF];

/// The specification calls `value` the mask and `valueTwo` what must be left of the argument. libcontainer 0.7.0 takes them the
/// other way round, and the bundle is written for it; a container that forks and may not unshare tests it.
fn clone_without_namespaces() -> Value {
    json!({
        "names": ["clone"], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": 0, "valueTwo": CLONE_NAMESPACES, "op": "SCMP_CMP_MASKED_EQ"}],
    })
}

fn scmp_architecture(architecture: &str) -> &'static str {
    match architecture {
        "x86_64" => "SCMP_ARCH_X86_64",
        "aarch64" => "SCMP_ARCH_AARCH64",
        "riscv64" => "SCMP_ARCH_RISCV64",
        // The filter's maker knows what it runs on.
        _ => "SCMP_ARCH_NATIVE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(capabilities: &[&str]) -> Vec<String> {
        let filter = filter("x86_64", capabilities);
        serde_json::from_value(filter["syscalls"][0]["names"].clone()).unwrap()
    }

    #[test]
    fn dangerous_calls_are_not_listed() {
        let listed = allowed(&[]);
        for name in [
            "mount",
            "umount2",
            "bpf",
            "keyctl",
            "add_key",
            "request_key",
            "ptrace",
            "unshare",
            "setns",
            "pivot_root",
            "kexec_load",
            "init_module",
            "open_by_handle_at",
            "userfaultfd",
            "io_uring_setup",
            "clone",
            "clone3",
            "reboot",
            "swapon",
            "perf_event_open",
            "iopl",
            "process_vm_readv",
            "open_tree",
            "fsopen",
            "chroot",
        ] {
            assert!(!listed.iter().any(|listed| listed == name), "{name}");
        }
    }

    #[test]
    fn what_every_program_needs_is_listed() {
        let listed = allowed(&[]);
        for name in
            ["execve", "read", "mmap", "futex", "epoll_pwait", "accept4", "rseq", "statx", "exit_group"]
        {
            assert!(listed.iter().any(|listed| listed == name), "{name}");
        }
    }

    #[test]
    fn a_capability_opens_its_calls() {
        assert!(allowed(&["CAP_SYS_PTRACE"]).contains(&"ptrace".to_owned()));
        assert!(!allowed(&["CAP_SYS_TIME"]).contains(&"ptrace".to_owned()));
        let filter = filter("x86_64", &["CAP_SYS_ADMIN"]);
        let rules = filter["syscalls"].as_array().unwrap();
        let clone_rules = rules.iter().filter(|rule| rule["names"] == json!(["clone"])).count();
        assert_eq!(
            clone_rules, 0,
            "an unconditional rule and a conditional one for a call contradict each other"
        );
    }

    #[test]
    fn no_name_is_listed_twice() {
        let all: Vec<&str> = ALWAYS.iter().flat_map(|calls| calls.split_whitespace()).collect();
        let mut once = all.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), all.len());
    }

    #[test]
    fn new_namespaces_are_masked_out_of_clone() {
        let filter = filter("aarch64", &[]);
        assert_eq!(filter["architectures"], json!(["SCMP_ARCH_AARCH64"]));
        let rule = &filter["syscalls"][1];
        assert_eq!(rule["names"], json!(["clone"]));
        for flag in
            [0x0002_0000_u64, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
        {
            assert_ne!(rule["args"][0]["valueTwo"].as_u64().unwrap() & flag, 0, "{flag:x}");
        }
    }
}
