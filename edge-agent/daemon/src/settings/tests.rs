use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

fn settle(line: &str, file: &str) -> Result<Settings, String> {
    let flags = Line::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?.flags;
    let file = toml::from_str(file).map_err(|error| error.to_string())?;
    Settings::merge(flags, file).map_err(|error| error.to_string())
}

fn flag(words: &str) -> Settings {
    settle(&format!("agent {words}"), "").unwrap()
}

#[test]
fn flags_win_over_the_file_and_that_over_defaults() {
    let file = "node = 'file'\nkeep_alive = '2m'\nreserve_memory = '1Gi'\nmasters = ['a', '10.0.0.1', '[::1]:99']\n\
                labels = {tier = 'edge', rack = '1'}\ntaints = ['gpu']\nport_range = '100-200'\n";
    let settings = settle("agent --node flag --label rack=2 --reserve-cpu 2", file).unwrap();
    assert_eq!(settings.node.as_ref().map(NodeName::as_str), Some("flag"));
    assert_eq!(settings.keep_alive.interval().as_secs(), 120);
    assert_eq!(
        settings.reserve,
        Resources { cpu: MilliCpu(2000), memory: Bytes(1 << 30), disk: RESERVE.disk, ..Resources::default() }
    );
    assert_eq!(settings.masters, ["a:7444", "10.0.0.1:7444", "[::1]:99"]);
    assert_eq!(settings.labels, Labels::from([("tier".into(), "edge".into()), ("rack".into(), "2".into())]));
    assert_eq!(settings.taints.len(), 1);
    assert_eq!(settings.port_range, (100, 200));
    let other = settle("agent --master b:1", file).unwrap();
    assert_eq!(other.masters, ["b:1"]);
}

#[test]
fn directories_move_together() {
    let dirs = |settings: &Settings| {
        [&settings.data_dir, &settings.cache_dir, &settings.run_dir].map(|dir| dir.display().to_string())
    };
    assert_eq!(dirs(&flag("")), [DATA_DIR, CACHE_DIR, RUN_DIR]);
    assert_eq!(dirs(&flag("--data-dir /d")), ["/d", "/d/cache", "/d/run"]);
    assert_eq!(dirs(&flag("--data-dir /d --run-dir /r")), ["/d", "/d/cache", "/r"]);
    assert_eq!(dirs(&flag("--cache-dir /c")), [DATA_DIR, "/c", RUN_DIR]);
    assert!(flag("--data-dir d").data_dir.is_absolute());
}

#[test]
fn defaults_are_those_of_the_manual() {
    let settings = flag("");
    assert_eq!(settings.keep_alive.interval().as_secs(), 25);
    assert_eq!(settings.port_range, (20_000, 29_999));
    assert_eq!(settings.pool.to_string(), "10.210.0.0/22");
    assert_eq!((settings.bridge.as_str(), settings.cgroup_root.as_str()), ("skerry0", "/skerry"));
    assert!(settings.keeper.ends_with("skerry-keeper"));
    assert!(settings.token().unwrap().is_none());
}

#[test]
fn mistakes_are_named() {
    let check = |line: &str, file: &str, expect: &str| {
        let error = settle(&format!("agent {line}"), file).expect_err(expect);
        assert!(error.contains(expect), "{line} {file}: {error}");
    };
    check("--node Oslo", "", "lower-case");
    check("--keep-alive 25", "", "not a duration");
    check("--keep-alive 1h", "", "outside");
    check("--keep-alive 30m", "", "outside");
    check("--label tier", "", "KEY=VALUE");
    check("--label ti!er=x", "", "must be 1 to 253");
    check("--port-range 9-8", "", "range of ports");
    check("--pool 10.0.0.1/24", "", "not an address pool");
    check("--bridge a-name-too-long-for-linux", "", "cannot name a bridge");
    check("--cgroup-root skerry", "", "begins with '/'");
    check("--cgroup-root /a/../b", "", "begins with '/'");
    check("--reserve-memory 1.5Gi", "", "not an amount of bytes");
    check("--token skerry-join.xx", "", "damaged");
    check("--log-max-files 0", "", "0 is not in 1..=99");
    check("", "nod = 'n1'", "unknown field `nod`");
    check("", "token = 'nonsense'", "must begin with");
    check("", "keep_alive = 25", "invalid type");
    check("", "taints = ['a b']", "must be 1 to 253");
}

#[test]
fn a_token_file_is_read_when_it_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let settings = flag(&format!("--token-file {}", path.display()));
    assert!(matches!(settings.token(), Err(SettingsError::Read { .. })));
    std::fs::write(&path, "nonsense").unwrap();
    assert!(matches!(settings.token(), Err(SettingsError::Token { .. })));
    let token = JoinToken::generate(skerry_link::RootHash([7; 32]), Vec::new()).unwrap();
    std::fs::write(&path, format!("{}\n", token.to_text())).unwrap();
    assert_eq!(settings.token().unwrap(), Some(token));
}

#[test]
fn a_host_name_becomes_a_label() {
    let check = |host: &str, expect: Option<&str>| {
        assert_eq!(text::host_label(host).ok().map(String::from).as_deref(), expect, "{host}");
    };
    check("Gateway-7.site.example\n", Some("gateway-7"));
    check("n1", Some("n1"));
    check("under_score", None);
    check("", None);
}

#[test]
fn graphics_processors_and_bandwidth_are_facts() {
    let file = "bandwidth = '100M'\n[[gpus]]\nmodel = 'l4'\ndevices = ['/dev/nvidia0', '/dev/nvidiactl']\n\
                [[gpus]]\nmodel = 'l4'\ndevices = []\n";
    let settings = settle("agent", file).unwrap();
    assert_eq!((settings.bandwidth, settings.gpus.len()), (Bandwidth(100_000_000), 2));
    assert_eq!(settings.gpus[0].devices, ["/dev/nvidia0", "/dev/nvidiactl"]);
    assert_eq!(settle("agent --bandwidth 10M", file).unwrap().bandwidth, Bandwidth(10_000_000));
    let check = |model: &str, device: &str, says: &str| {
        let file = format!("[[gpus]]\nmodel = '{model}'\ndevices = ['{device}']\n");
        let error = settle("agent", &file).unwrap_err();
        assert!(error.contains(says), "{error}");
    };
    check("", "/dev/dri/card0", "'' is no model");
    check("l4!", "/dev/dri/card0", "'l4!' is no model");
    check("l4", "/dev", "'/dev' of 'l4' is no device file");
    check("l4", "/dev/../etc/shadow", "is no device file");
    check("l4", "dev/dri/card0", "is no device file");
    check("l4", "/etc/shadow", "is no device file");
    assert!(settle("agent", "[[gpus]]\nmodel = 'l4'\ndevice = []\n").unwrap_err().contains("device"));
}
