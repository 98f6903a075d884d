//! Which word may have been meant.

/// Names that other programs give to things that have a field here.
const FOREIGN: &[(&str, &str)] = &[
    ("replicas", "instances"),
    ("count", "instances"),
    ("environment", "env"),
    ("entrypoint", "command"),
    ("cmd", "args"),
    ("arguments", "args"),
    ("namespace", "tenant"),
    ("nodeselector", "require"),
    ("constraints", "require"),
    ("nodeaffinity", "require"),
    ("podaffinity", "affinity"),
    ("podantiaffinity", "anti_affinity"),
    ("initcontainers", "init"),
    ("livenessprobe", "health"),
    ("startupprobe", "health"),
    ("healthcheck", "health"),
    ("readinessprobe", "ready"),
    ("httpget", "http"),
    ("tcpsocket", "tcp"),
    ("periodseconds", "interval"),
    ("timeoutseconds", "timeout"),
    ("failurethreshold", "failures"),
    ("initialdelayseconds", "grace"),
    ("terminationgraceperiodseconds", "stop_grace"),
    ("shutdowndelay", "stop_delay"),
    ("minreadyseconds", "min_healthy"),
    ("minhealthytime", "min_healthy"),
    ("prestop", "stop_delay"),
    ("completions", "instances"),
    ("backofflimit", "retries"),
    ("activedeadlineseconds", "deadline"),
    ("concurrencypolicy", "overlap"),
    ("startingdeadlineseconds", "starting_deadline"),
    ("minreplicas", "min"),
    ("maxreplicas", "max"),
    ("autoscaling", "scale"),
    ("priorityclassname", "priority"),
    ("quota", "limit"),
    ("coordinates", "point"),
    ("tz", "timezone"),
    ("monday", "mon"),
    ("tuesday", "tue"),
    ("wednesday", "wed"),
    ("thursday", "thu"),
    ("friday", "fri"),
    ("saturday", "sat"),
    ("sunday", "sun"),
    ("preferences", "prefer"),
    ("tolerations", "tolerate"),
    ("topologyspreadconstraints", "spread"),
    ("restartpolicy", "restart"),
    ("containerport", "container"),
    ("targetport", "container"),
    ("hostport", "host"),
    ("mem", "memory"),
    ("storage", "disk"),
    ("requests", "resources"),
    ("pidslimit", "pids"),
    ("runasuser", "user"),
    ("readonlyrootfilesystem", "read_only"),
    ("capadd", "capabilities"),
    ("capdrop", "capabilities"),
];

/// The choice that is nearest to `word`, if one is near: another program's name for it, or a third of its letters wrong at most.
pub(crate) fn nearest<'c>(word: &str, choices: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = plain(word);
    let known = FOREIGN.iter().find(|(foreign, _)| *foreign == word).map(|(_, ours)| *ours);
    let reach = (word.chars().count() / 3).max(1);
    choices
        .into_iter()
        .map(|choice| {
            let distance =
                if known == Some(choice) { 0 } else { strsim::osa_distance(&word, &plain(choice)) };
            (distance, choice)
        })
        .filter(|(distance, choice)| *distance <= reach && *distance < choice.len())
        .min()
        .map(|(_, choice)| choice)
}

/// The end of a sentence that names the nearest choice, or nothing.
pub(crate) fn did_you_mean<'c>(word: &str, choices: impl IntoIterator<Item = &'c str>) -> String {
    nearest(word, choices).map_or_else(String::new, |near| format!("; did you mean '{near}'?"))
}

/// Words in quotes, as a list to choose from: `'a', 'b' or 'c'`.
pub(crate) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    match quoted.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => quoted.concat(),
    }
}

/// How words are compared: case and separators do not matter. Long ones are cut, as the distance costs length squared.
fn plain(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '_' | '-')).take(64).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_words_are_named() {
        let fields = ["instances", "containers", "placement", "restart", "read_only"];
        let check = |word: &str, near: Option<&str>| assert_eq!(nearest(word, fields), near, "{word}");
        check("replicas", Some("instances"));
        check("instance", Some("instances"));
        check("contaniers", Some("containers"));
        check("readOnly", Some("read_only"));
        check("restartPolicy", Some("restart"));
        check("volumes", None);
        check("x", None);
        check("", None);
        assert_eq!(nearest("x", ["y"]), None, "a word with no letter right is not near");
    }
}
