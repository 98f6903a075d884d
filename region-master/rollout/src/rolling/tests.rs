//! Tables of members and plans, and whole moves played through.

use std::collections::BTreeMap;
use std::time::Duration;

use skerry_types::{AllocationId, InstanceIndex, OnReturn, SiteName, UpdatePolicy, Wave, WaveSize};

use super::*;

const LONG: Duration = Duration::from_mins(30);

fn policy() -> UpdatePolicy {
    UpdatePolicy { min_healthy: Duration::from_secs(5), ..UpdatePolicy::default() }
}

fn course() -> Course {
    Course {
        paused: false,
        promoted: false,
        failed: None,
        since_progress: Duration::ZERO,
        has_former: true,
        told: None,
        dealt: usize::MAX,
        parts: Vec::new(),
        homeless: 0,
        unsure_for: None,
    }
}

/// Reads `r` ready, `s` starting, `u` unready, `f` failing; capitals are current; behind it `?` unreachable, `!` lost, `d` drained,
/// `x` drained by force.
///
/// Members look at their copies for as long as the test runs.
fn member(number: u32, text: &str) -> Member<'static> {
    let replicas = text.split_whitespace().enumerate().map(|(at, word)| {
        let kind = word.chars().next().unwrap();
        let marks = &word[1..];
        Replica {
            id: Box::leak(Box::new(AllocationId::new(format!("w-{number}-{at}")).unwrap())),
            current: kind.is_uppercase(),
            health: match kind.to_ascii_lowercase() {
                'r' => Health::Ready(LONG),
                'q' => Health::Ready(Duration::from_secs(1)),
                's' => Health::Starting,
                'u' => Health::Unready,
                _ => Health::Failing,
            },
            reach: match marks {
                m if m.contains('?') => Reach::Unreachable,
                m if m.contains('!') => Reach::Lost,
                _ => Reach::Reachable,
            },
            drain: match marks {
                m if m.contains('x') => Drain::Forced,
                m if m.contains('d') => Drain::Gentle,
                _ => Drain::No,
            },
            age: Duration::from_hours(1).saturating_sub(Duration::from_mins(u64::try_from(at).unwrap())),
        }
    });
    Member {
        instance: InstanceIndex(number),
        site: Some(SiteName::new("oslo").unwrap()),
        wave: 0,
        open: true,
        awaited: false,
        replicas: replicas.collect::<Vec<_>>().leak(),
    }
}

fn members(texts: &[&str]) -> Vec<Member<'static>> {
    (0..).zip(texts).map(|(number, text)| member(number, text)).collect()
}

/// `+1` starts, `+1~` starts in the former generation, `-1.0` stops the first copy of instance 1.
fn words(plan: &Plan) -> String {
    let starts = plan.start.iter().map(|s| format!("+{}{}", s.instance, if s.current { "" } else { "~" }));
    let stops = plan.stop.iter().map(|id| format!("-{}", id.as_str()[2..].replace('-', ".")));
    starts.chain(stops).collect::<Vec<_>>().join(" ")
}

fn check_with(policy: &UpdatePolicy, course: &Course, texts: &[&str], expect: &str) -> Plan {
    let plan = plan(policy, OnReturn::KeepOriginal, course, &members(texts));
    assert_eq!(words(&plan), expect, "{texts:?}: {:?}", plan.progress);
    plan
}

fn check(texts: &[&str], expect: &str) -> Plan {
    check_with(&policy(), &course(), texts, expect)
}

#[test]
fn nothing_is_done_when_all_is_well() {
    let plan = check(&["R", "R"], "");
    assert_eq!((plan.progress.state, plan.progress.settled), (State::Done, 2));
    check(&[], "");
}

#[test]
fn missing_instances_are_started() {
    check_with(&policy(), &Course { has_former: false, ..course() }, &["", "R", ""], "+0 +2");
}

#[test]
fn one_goes_at_a_time() {
    check(&["r", "r", "r"], "+0 -0.0");
    check(&["S", "r", "r"], "");
    let plan = check(&["Q", "r", "r"], "");
    assert_eq!(plan.progress.settled, 0, "ready is not settled");
    check(&["R", "r", "r"], "+1 -1.0");
    let two = UpdatePolicy { max_unavailable: 2, ..policy() };
    check_with(&two, &course(), &["r", "r", "r"], "+0 +1 -0.0 -1.0");
}

#[test]
fn a_surge_makes_before_it_breaks() {
    let surge = UpdatePolicy { max_unavailable: 0, max_surge: 1, ..policy() };
    check_with(&surge, &course(), &["r", "r"], "+0");
    check_with(&surge, &course(), &["r S", "r"], "");
    let plan = check_with(&surge, &course(), &["r Q", "r"], "");
    assert_eq!(plan.again_in, Some(Duration::from_secs(4)));
    check_with(&surge, &course(), &["r R", "r"], "-0.0");
    check_with(&surge, &course(), &["R", "r"], "+1");
}

#[test]
fn without_a_surge_a_former_copy_makes_room_for_the_one_that_waits() {
    check(&["r S", "R"], "-0.0");
    check(&["r S", "S"], "");
    check(&["r? S", "R"], "");
    let failed = Course { failed: Some("no".to_owned()), ..course() };
    check_with(&policy(), &failed, &["r S", "R"], "");
}

#[test]
fn broken_ones_go_first_and_cost_nothing() {
    check(&["f", "r", "f"], "+0 +2 -0.0 -2.0");
}

#[test]
fn offline_members_are_deferred_and_hold_nothing_up() {
    let plan = check(&["r?", "r", "r"], "+1 -1.0");
    assert_eq!(plan.progress.deferred, 1);
    let plan = check(&["r?", "R", "R"], "");
    assert_eq!((plan.progress.state, plan.progress.deferred), (State::Done, 1));
    check(&["r", "R", "R"], "+0 -0.0");
}

#[test]
fn a_move_that_fails_stops() {
    let plan = check(&["F", "r", "r"], "");
    assert_eq!(plan.progress.state, State::Failed("1 of 1 updated instances do not run".to_owned()));
    check(&["F", "r", ""], "+2~");
    let half = UpdatePolicy { abort_percent: 60, ..policy() };
    let plan = check_with(&half, &course(), &["F", "R", "r"], "");
    assert_eq!(plan.progress.state, State::Running, "one in two is not yet sixty in a hundred");
    let late = Course { since_progress: Duration::from_mins(10), ..course() };
    let plan = check_with(&policy(), &late, &["S", "r"], "");
    assert_eq!(plan.progress.state, State::Failed("no instance became healthy for 10m".to_owned()));
    let given_up = Course { failed: Some("x".to_owned()), ..course() };
    check_with(&policy(), &given_up, &["R", "r"], "");
}

#[test]
fn a_first_generation_never_fails_for_want_of_another() {
    let first = Course { has_former: false, since_progress: Duration::from_hours(9), ..course() };
    let plan = check_with(&policy(), &first, &["F", ""], "+1");
    assert_eq!(plan.progress.state, State::Running);
}

#[test]
fn a_pause_holds_what_has_not_moved() {
    let paused = Course { paused: true, ..course() };
    let plan = check_with(&policy(), &paused, &["R", "r", ""], "+2~");
    assert_eq!(plan.progress.state, State::Paused);
}

#[test]
fn canaries_are_waited_for() {
    let canary = UpdatePolicy { canary: 1, max_unavailable: 2, auto_promote: false, ..policy() };
    check_with(&canary, &course(), &["r", "r", "r"], "+0 -0.0");
    check_with(&canary, &course(), &["Q", "r", "r"], "");
    let plan = check_with(&canary, &course(), &["R", "r", "r"], "");
    assert_eq!(plan.progress.state, State::WaitingPromotion);
    let promoted = Course { promoted: true, ..course() };
    check_with(&canary, &promoted, &["R", "r", "r"], "+1 +2 -1.0 -2.0");
    let auto = UpdatePolicy { auto_promote: true, ..canary.clone() };
    check_with(&auto, &course(), &["R", "r", "r"], "+1 +2 -1.0 -2.0");
    check_with(&canary, &course(), &["r?", "r", "r"], "+1 -1.0");
    // With the one gap taken up by what does not run, the first would wait for ever.
    let one = UpdatePolicy { max_unavailable: 1, ..canary };
    check_with(&one, &course(), &["r", "f", "f"], "+1 -1.0");
}

#[test]
fn waves_go_one_after_the_other() {
    let wave = |healthy_for| Wave { matches: "".parse().unwrap(), size: WaveSize::Count(1), healthy_for };
    let waves = vec![wave(Duration::from_mins(1)), wave(Duration::ZERO)];
    let fleet = UpdatePolicy { waves, max_unavailable: 9, ..policy() };
    let check = |texts: &[&str], expect: &str| {
        let mut members = members(texts);
        for (at, member) in members.iter_mut().enumerate() {
            member.wave = at.min(2);
        }
        let plan = plan(&fleet, OnReturn::KeepOriginal, &course(), &members);
        assert_eq!(words(&plan), expect, "{texts:?}");
        plan.progress.wave
    };
    assert_eq!(check(&["r", "r", "r", "r"], "+0 -0.0"), (0, 3));
    assert_eq!(check(&["Q", "r", "r", "r"], ""), (0, 3));
    assert_eq!(check(&["R", "r", "r", "r"], "+1 -1.0"), (1, 3));
    assert_eq!(check(&["R", "r?", "r", "r"], "+2 +3 -2.0 -3.0"), (2, 3));
    // One of the last wave that came to have its place anew is of this generation, and is to be well as any that moved.
    assert_eq!(check(&["R", "r", "r", "S"], ""), (0, 3));
    assert_eq!(check(&["R", "r", "r", "R"], "+1 -1.0"), (1, 3));
    // A region that gets one amid the update says so before it has found a place for it.
    let told = Some(Leave { waves: 1, ..Leave::FREE });
    let got = Course { has_former: false, told, ..course() };
    let waves_done = |text: &str| {
        let mut members = members(&[text]);
        members[0].wave = 2;
        plan(&fleet, OnReturn::KeepOriginal, &got, &members).progress.waves_done
    };
    assert_eq!(["", "S", "R"].map(waves_done), [0, 0, 3]);
}

#[test]
fn a_wave_waits_for_who_may_be_heard_from_at_any_moment() {
    let wave = Wave { matches: "".parse().unwrap(), size: WaveSize::Count(1), healthy_for: Duration::ZERO };
    let fleet = UpdatePolicy { waves: vec![wave], max_unavailable: 9, ..policy() };
    let part = |reachable, awaited, waves_done| Part {
        reachable,
        awaited,
        answered: true,
        progress: PartProgress { total: 1, waves_done, ..PartProgress::default() },
    };
    let check = |first: &str, awaited: bool, parts: Vec<Part>, expect: &str| {
        let mut members = members(&[first, "r"]);
        (members[0].awaited, members[1].wave) = (awaited, 1);
        let plan = plan(&fleet, OnReturn::KeepOriginal, &Course { parts, ..course() }, &members);
        assert_eq!(words(&plan), expect, "{first} {awaited}: {:?}", plan.progress);
    };
    check("r?", false, vec![], "+1 -1.0");
    check("r?", true, vec![], "");
    // The only one that moved is silent, which may be what it moved to.
    check("R?", false, vec![], "");
    check("R", false, vec![part(false, false, 0)], "+1 -1.0");
    check("R", false, vec![part(false, true, 0)], "");
    check("R", false, vec![part(false, true, 1)], "+1 -1.0");
}

#[test]
fn what_is_away_for_a_moment_is_waited_for_at_the_end_here_and_below() {
    let check = |course: Course, texts: &[&str]| {
        let plan = plan(&policy(), OnReturn::KeepOriginal, &course, &members(texts));
        assert_eq!(plan.progress.done, plan.progress.state == State::Done);
        plan.progress.state
    };
    assert_eq!(check(course(), &["R", "r?"]), State::Done);
    assert_eq!(
        check(Course { unsure_for: Some(Duration::from_mins(1)), ..course() }, &["R", "r?"]),
        State::Running
    );
    let silent = plan(&policy(), OnReturn::KeepOriginal, &course(), &members(&["R?", "R?"]));
    assert_eq!(silent.progress.state, State::Running, "nobody has shown that it runs");
    let below = |reachable, answered, done| {
        let progress = PartProgress { total: 2, deferred: 2, done, ..PartProgress::default() };
        let parts = vec![Part { reachable, awaited: false, answered, progress }];
        check(Course { parts, ..course() }, &["R"])
    };
    assert_eq!(below(true, true, true), State::Done);
    assert_eq!(below(true, true, false), State::Running, "its members may be back at any moment");
    assert_eq!(below(true, false, true), State::Running, "that was said of another generation");
    assert_eq!(below(false, true, false), State::Done);
}

#[test]
fn broken_members_of_later_waves_hold_nothing_up_for_ever() {
    let one_each = |count| {
        let wave =
            |_| Wave { matches: "".parse().unwrap(), size: WaveSize::Count(1), healthy_for: Duration::ZERO };
        (0..count).map(wave).collect::<Vec<_>>()
    };
    let check_in = |course: &Course, down: u32, surge: u32, texts: &[&str], expect: &str| {
        let (waves, abort_percent) = (one_each(3), 60);
        let fleet =
            UpdatePolicy { waves, max_unavailable: down, max_surge: surge, abort_percent, ..policy() };
        let mut members = members(texts);
        for (at, member) in members.iter_mut().enumerate() {
            member.wave = at;
        }
        let found = plan(&fleet, OnReturn::KeepOriginal, course, &members);
        assert_eq!(words(&found), expect, "{texts:?}: {:?}", found.progress);
        found.progress
    };
    let check = |down, surge, texts: &[&str], expect: &str| check_in(&course(), down, surge, texts, expect);
    // The first of them gives the one gap that there may be.
    check(1, 0, &["r", "f", "r", "u"], "+1 +3 -1.0 -3.0");
    check(1, 0, &["r", "r", "f", "r"], "+2 -2.0");
    check(1, 0, &["r", "r", "S", "r"], "");
    check(1, 0, &["r", "r", "R", "r"], "+0 -0.0");
    // A gap is left, or none is needed, or what is down will be well by itself.
    check(2, 0, &["r", "r", "f", "r"], "+0 -0.0");
    check(1, 1, &["r", "r", "f", "r"], "+0");
    check(1, 0, &["r", "r", "s", "r"], "");
    check(1, 0, &["S", "r", "f", "r"], "");
    // One that fails still counts as tried and failed.
    let found = check(1, 0, &["r", "r", "F", "r"], "");
    assert_eq!(found.state, State::Failed("1 of 1 updated instances do not run".to_owned()));
    // Held, nothing goes ahead; taken back, nothing waits for its wave.
    let paused = Course { paused: true, ..course() };
    check_in(&paused, 1, 0, &["r", "r", "f", "r"], "");
    let reverts = Course { has_former: false, ..course() };
    check_in(&reverts, 1, 0, &["r", "R", "f", "f"], "+2 +3 -2.0 -3.0");
}

#[test]
fn a_closed_window_and_a_busy_site_hold() {
    let mut all = members(&["r", "r"]);
    all[0].open = false;
    let found = plan(&policy(), OnReturn::KeepOriginal, &course(), &all);
    assert_eq!((words(&found).as_str(), found.progress.waiting), ("+1 -1.0", 1));
    let one = UpdatePolicy { max_unavailable: 5, per_site: Some(1), ..policy() };
    check_with(&one, &course(), &["r", "r"], "+0 -0.0");
    check_with(&one, &course(), &["S", "r"], "");
    let mut apart = members(&["r", "r"]);
    apart[1].site = Some(SiteName::new("bergen").unwrap());
    assert_eq!(words(&plan(&one, OnReturn::KeepOriginal, &course(), &apart)), "+0 +1 -0.0 -1.0");
}

#[test]
fn a_drain_makes_before_it_breaks() {
    check(&["Rd", "R"], "+0");
    check(&["Rd S", "R"], "");
    check(&["Rd R", "R"], "-0.0");
    check(&["Rd", "Rd"], "+0");
    check(&["Fd", "R"], "+0 -0.0");
    check(&["Rx", "R"], "+0 -0.0");
    // Another copy is there: it has its own turn, and stays where it is not heard from.
    check(&["rx r", "R"], "-0.0");
    check(&["rx r?", "R"], "-0.0");
    check(&["rx r!", "R"], "+0 -0.0");
    let paused = Course { paused: true, ..course() };
    check_with(&policy(), &paused, &["rd", "r"], "+0~");
    check_with(&policy(), &paused, &["rd r", "r"], "-0.0");
}

#[test]
fn a_lost_copy_has_one_replacement() {
    check(&["R!"], "+0");
    check(&["R! S"], "");
    check(&["R?"], "");
    let paused = Course { paused: true, ..course() };
    check_with(&policy(), &paused, &["r!"], "+0~");
}

#[test]
fn one_of_two_stays_when_a_node_returns() {
    let check = |on_return, text: &str, expect: &str| {
        let found = plan(&policy(), on_return, &course(), &members(&[text]));
        assert_eq!(words(&found), expect, "{text}");
    };
    check(OnReturn::KeepOriginal, "R R", "-0.1");
    check(OnReturn::KeepNew, "R R", "-0.0");
    check(OnReturn::KeepHealthiest, "Q R", "-0.0");
    check(OnReturn::KeepOriginal, "F R", "-0.0");
    check(OnReturn::KeepOriginal, "S Q", "-0.0");
    check(OnReturn::KeepNew, "R S", "-0.1");
    check(OnReturn::KeepOriginal, "r r", "-0.1");
    check(OnReturn::KeepNew, "r r", "-0.0");
    check(OnReturn::KeepOriginal, "f r", "-0.0");
}

/// Plays a whole move: what is started becomes ready a step later, what is stopped is gone.
fn play(policy: &UpdatePolicy, mut texts: BTreeMap<u32, Vec<(bool, bool)>>, limit: u32) -> u32 {
    for step in 0..limit {
        let all: Vec<Member<'_>> = texts
            .iter()
            .map(|(number, copies)| {
                let word = |(current, ready): &(bool, bool)| match (current, ready) {
                    (true, true) => "R",
                    (true, false) => "S",
                    (false, true) => "r",
                    (false, false) => "s",
                };
                member(*number, &copies.iter().map(word).collect::<Vec<_>>().join(" "))
            })
            .collect();
        let available = all.iter().filter(|member| member.is_available()).count();
        let copies: usize = all.iter().map(|member| member.replicas.len()).sum();
        let (down, surge) = (policy.max_unavailable as usize, policy.max_surge as usize);
        assert!(available + down >= all.len(), "{available} of {} at step {step}", all.len());
        assert!(copies <= all.len() + surge, "{copies} copies at step {step}");
        let plan = plan(policy, OnReturn::KeepOriginal, &course(), &all);
        if plan.start.is_empty() && plan.stop.is_empty() && texts.values().flatten().all(|(_, ready)| *ready)
        {
            assert!(texts.values().all(|copies| copies == &[(true, true)]), "{texts:?}");
            return step;
        }
        for copy in texts.values_mut().flatten() {
            copy.1 = true;
        }
        for id in &plan.stop {
            let (number, at) = id.as_str()[2..].split_once('-').unwrap();
            let copies = texts.get_mut(&number.parse().unwrap()).unwrap();
            copies.remove(at.parse().unwrap());
        }
        for start in &plan.start {
            texts.get_mut(&start.instance.0).unwrap().push((start.current, false));
        }
    }
    panic!("it never ends: {texts:?}");
}

proptest::proptest! {
    #[test]
    fn bounds_hold_on_the_way_and_it_ends(
        count in 1u32..20, down in 0u32..4, surge in 0u32..4, canary in 0u32..3,
    ) {
        proptest::prop_assume!(down + surge > 0);
        let policy = UpdatePolicy { max_unavailable: down, max_surge: surge, canary, ..policy() };
        let texts = (0..count).map(|number| (number, vec![(false, true)])).collect();
        play(&policy, texts, 200);
    }
}
