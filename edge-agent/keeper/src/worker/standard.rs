//! Whether a specification asks for what [`super::world`] has ready, and for what beside it.

use libcontainer::oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType, Mount, Spec};
use skerry_keeper_protocol::world::{
    FILE_OPTIONS, MASKED_PATHS, READ_ONLY_PATHS, SPECIAL_MOUNTS, SpecialMount,
};
use std::path::{Component, Path};

/// What a standard container is given beside what all have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Standard<'a> {
    pub(super) files: Vec<Bound<'a>>,
    pub(super) network: Network<'a>,
    /// Whether nothing may be written to its image.
    pub(super) read_only: bool,
    pub(super) hostname: Option<&'a str>,
}

/// What lies on the node and shows in a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bound<'a> {
    pub(super) source: &'a Path,
    pub(super) destination: &'a Path,
    pub(super) options: &'static [&'static str],
}

/// A network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network<'a> {
    /// A fresh one.
    Own,
    /// The one that this file names.
    Of(&'a Path),
}

impl<'a> Standard<'a> {
    /// `None` when there is anything in `spec` that a standard container does not have.
    pub(super) fn of(spec: &'a Spec) -> Option<Self> {
        let linux = spec.linux().as_ref()?;
        let process = spec.process().as_ref()?;
        let mounts = spec.mounts().as_deref()?;
        let (special, files) = mounts.split_at_checked(SPECIAL_MOUNTS.len())?;
        let standard = spec.hooks().is_none()
            && spec.domainname().is_none()
            && process.no_new_privileges() == Some(true)
            && is_plain(linux)
            && special.iter().zip(&SPECIAL_MOUNTS).all(|(mount, special)| is_special(mount, special));
        if !standard {
            return None;
        }
        Some(Self {
            files: files.iter().map(bound).collect::<Option<_>>()?,
            network: network(linux.namespaces().as_deref()?)?,
            read_only: spec.root().as_ref()?.readonly() == Some(true),
            hostname: spec.hostname().as_deref(),
        })
    }
}

/// Takes out of a specification what its process has by then.
pub(super) fn strip(spec: &mut Spec) {
    spec.set_hostname(None);
    if let Some(linux) = spec.linux_mut() {
        linux.set_namespaces(Some(Vec::new()));
    }
}

fn is_plain(linux: &Linux) -> bool {
    let same = |paths: &Option<Vec<String>>, standard: &[&str]| {
        paths.as_deref().is_some_and(|paths| paths == standard)
    };
    same(linux.masked_paths(), &MASKED_PATHS)
        && same(linux.readonly_paths(), &READ_ONLY_PATHS)
        && linux.devices().as_ref().is_none_or(Vec::is_empty)
        && linux.sysctl().as_ref().is_none_or(std::collections::HashMap::is_empty)
        && linux.rootfs_propagation().is_none()
        && linux.mount_label().is_none()
}

fn is_special(mount: &Mount, special: &SpecialMount) -> bool {
    mount.destination() == Path::new(special.destination)
        && mount.typ().as_deref() == Some(special.kind)
        && mount.source().as_deref() == Some(Path::new(special.kind))
        && mount.options().as_deref().is_some_and(|options| options == special.options)
}

/// A file that is bound read-only, and not where a special file system will be.
fn bound(mount: &Mount) -> Option<Bound<'_>> {
    let destination = mount.destination();
    let taken = ["/proc", "/dev", "/sys"].iter().any(|special| destination.starts_with(special));
    let normal = |part| matches!(part, Component::RootDir | Component::Normal(_));
    let fits = destination.is_absolute()
        && destination.components().all(normal)
        && !taken
        && mount.typ().as_deref() == Some("bind")
        && mount.options().as_deref().is_some_and(|options| options == FILE_OPTIONS);
    fits.then_some(Bound { source: mount.source().as_deref()?, destination, options: &FILE_OPTIONS })
}

/// The network of a container that has all else of its own.
fn network(namespaces: &[LinuxNamespace]) -> Option<Network<'_>> {
    use LinuxNamespaceType::{Ipc, Mount, Network as Net, Pid, Uts};
    let own = |kind| namespaces.iter().any(|one| one.typ() == kind && one.path().is_none());
    if namespaces.len() != 5 || ![Pid, Ipc, Uts, Mount].into_iter().all(own) {
        return None;
    }
    let net = namespaces.iter().find(|one| one.typ() == Net)?;
    Some(net.path().as_deref().map_or(Network::Own, Network::Of))
}
