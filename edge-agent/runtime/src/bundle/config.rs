//! What a container runs, settled from its spec and its image's defaults.

use std::path::PathBuf;

use skerry_types::{Capabilities, ContainerSpec, Limits, MilliCpu};

use super::{BundleError, Device};
use crate::image::ImageConfig;

/// What one container runs and what it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerConfig {
    /// Program and arguments; never empty.
    pub args: Vec<String>,
    /// `NAME=VALUE` each, every name once.
    pub env: Vec<String>,
    /// Where it starts; absolute.
    pub cwd: PathBuf,
    /// `uid[:gid]` or `name[:group]` of the image; root when empty.
    pub user: String,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// Changes to the default capability set.
    pub capabilities: Capabilities,
    /// Reserved processor time: its weight when the node is busy.
    pub cpu: MilliCpu,
    /// What it may not pass.
    pub limits: Limits,
    /// Devices that it has beside the harmless ones.
    pub devices: Vec<Device>,
}

impl ContainerConfig {
    /// Lays a spec over the image's defaults. A command of the spec also drops the image's arguments, which were for the
    /// image's program.
    pub fn settle(spec: &ContainerSpec, image: &ImageConfig) -> Result<Self, BundleError> {
        let own_command = !spec.command.is_empty();
        let program = if own_command { &spec.command } else { &image.entrypoint };
        let arguments = if own_command || !spec.args.is_empty() { &spec.args } else { &image.cmd };
        let args: Vec<String> = program.iter().chain(arguments).cloned().collect();
        if args.is_empty() {
            return Err(BundleError::NoCommand { container: spec.name.clone() });
        }
        let cwd = PathBuf::from("/").join(&image.workdir);
        let user = spec.user.clone().unwrap_or_else(|| image.user.clone());
        Ok(Self {
            args,
            env: merged_env(spec, image),
            cwd,
            user,
            read_only: spec.read_only,
            capabilities: spec.capabilities.clone(),
            cpu: spec.resources.cpu,
            limits: spec.limits,
            devices: Vec::new(),
        })
    }

    /// Adds a variable; one of this name is replaced.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.retain(|entry| entry.split('=').next() != Some(name));
        self.env.push(format!("{name}={value}"));
    }
}

fn merged_env(spec: &ContainerSpec, image: &ImageConfig) -> Vec<String> {
    let name_of = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let overridden = |entry: &&String| spec.env.iter().any(|own| own.name == name_of(entry));
    let kept = image.env.iter().filter(|entry| !overridden(entry)).cloned();
    kept.chain(spec.env.iter().map(|own| format!("{}={}", own.name, own.value))).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use skerry_types::{Bytes, ContainerName, EnvVar, Resources};

    use super::*;

    pub(in crate::bundle) fn spec() -> ContainerSpec {
        ContainerSpec {
            name: ContainerName::new("web").unwrap(),
            image: "registry.example/web:1".to_owned(),
            digest: None,
            command: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            resources: Resources {
                cpu: MilliCpu(250),
                memory: Bytes(64 << 20),
                disk: Bytes(0),
                ..Resources::default()
            },
            limits: Limits { cpu: Some(MilliCpu(500)), memory: Bytes(64 << 20), pids: 100 },
            ports: Vec::new(),
            user: None,
            read_only: false,
            capabilities: Capabilities::default(),
            probes: skerry_types::Probes::default(),
            stop_signal: None,
        }
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn commands_replace_what_the_image_says() {
        let image =
            ImageConfig { entrypoint: words("/entry -x"), cmd: words("serve"), ..ImageConfig::default() };
        let check = |command: &str, args: &str, expect: &str| {
            let spec = ContainerSpec { command: words(command), args: words(args), ..spec() };
            assert_eq!(ContainerConfig::settle(&spec, &image).unwrap().args, words(expect));
        };
        check("", "", "/entry -x serve");
        check("", "stop now", "/entry -x stop now");
        check("/own", "", "/own");
        check("/own", "a b", "/own a b");
        let error = ContainerConfig::settle(&spec(), &ImageConfig::default()).unwrap_err();
        assert!(matches!(error, BundleError::NoCommand { .. }));
    }

    #[test]
    fn environment_of_the_spec_wins() {
        let image =
            ImageConfig { cmd: words("a"), env: words("PATH=/bin LEVEL=warn"), ..ImageConfig::default() };
        let env = vec![EnvVar { name: "LEVEL".to_owned(), value: "a=b".to_owned() }];
        let config = ContainerConfig::settle(&ContainerSpec { env, ..spec() }, &image).unwrap();
        assert_eq!(config.env, ["PATH=/bin", "LEVEL=a=b"]);
    }

    #[test]
    fn a_working_directory_is_absolute() {
        let check = |dir: &str, expect: &str| {
            let image = ImageConfig { cmd: words("a"), workdir: dir.to_owned(), ..ImageConfig::default() };
            assert_eq!(ContainerConfig::settle(&spec(), &image).unwrap().cwd, PathBuf::from(expect));
        };
        check("", "/");
        check("/srv", "/srv");
        check("srv", "/srv");
    }
}
