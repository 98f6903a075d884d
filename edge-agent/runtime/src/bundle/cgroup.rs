//! Which kind of cgroups the node has, as far as a bundle depends on it.

use std::path::Path;

/// The cgroups of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// Version 1 holds the controllers; a version 2 tree beside it (hybrid) has none and is not used.
    V1 {
        /// Whether memory and swap together can be limited.
        swap: bool,
    },
    /// One tree for all controllers.
    V2,
}

impl CgroupVersion {
    /// Looks at the node's `/sys/fs/cgroup`.
    pub fn detect() -> Self {
        Self::detect_at(Path::new("/sys/fs/cgroup"))
    }

    /// A version 2 tree has this file in its root; in version 1 and hybrid a directory per controller stands there.
    fn detect_at(root: &Path) -> Self {
        if root.join("cgroup.controllers").exists() {
            return Self::V2;
        }
        Self::V1 { swap: root.join("memory/memory.memsw.limit_in_bytes").exists() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_tells_its_version() {
        let check = |files: &[&str], expect: CgroupVersion| {
            let root = tempfile::tempdir().unwrap();
            for file in files {
                let path = root.path().join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "").unwrap();
            }
            assert_eq!(CgroupVersion::detect_at(root.path()), expect, "{files:?}");
        };
        check(&["cgroup.controllers"], CgroupVersion::V2);
        check(
            &["memory/memory.limit_in_bytes", "unified/cgroup.controllers"],
            CgroupVersion::V1 { swap: false },
        );
        check(&["memory/memory.memsw.limit_in_bytes"], CgroupVersion::V1 { swap: true });
    }
}
