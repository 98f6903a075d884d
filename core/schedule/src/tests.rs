//! When schedules are due, above all where the clock on the wall jumps.

use std::time::Instant;

use jiff::civil::DateTime;
use proptest::prelude::*;
use proptest::sample::select;
use skerry_types::{Overlap, Window};

use super::*;

fn compile(cron: &str, zone: &str) -> Result<CompiledSchedule, ScheduleError> {
    let schedule = Schedule {
        cron: cron.to_owned(),
        timezone: TimeZone::Named(zone.to_owned()),
        overlap: Overlap::Forbid,
        starting_deadline: None,
    };
    CompiledSchedule::new(&schedule, None)
}

/// RFC 3339 to wall time.
fn at(text: &str) -> WallTime {
    wall(text.parse().unwrap()).unwrap()
}

fn shown(time: WallTime) -> String {
    zone::timestamp(time).unwrap().to_string()
}

/// The due times that follow `after`, in UTC.
#[track_caller]
fn check(cron: &str, zone: &str, after: &str, due: &[&str]) {
    let schedule = compile(cron, zone).unwrap();
    let mut last = at(after);
    for due in due {
        last = schedule.next_after(last).unwrap();
        assert_eq!(shown(last), *due, "'{cron}' in {zone} after {after}");
    }
}

#[test]
fn fields_say_when() {
    let utc = |cron: &str, after: &str, due: &[&str]| check(cron, "UTC", after, due);
    utc("0 3 * * *", "2026-11-22T02:59:59.999Z", &["2026-11-22T03:00:00Z", "2026-11-23T03:00:00Z"]);
    utc("0 3 * * *", "2026-11-22T03:00:00Z", &["2026-11-23T03:00:00Z"]);
    utc("*/20 * * * *", "2026-12-31T23:30:00Z", &["2026-12-31T23:40:00Z", "2027-01-01T00:00:00Z"]);
    utc("5,10-12 7 * * *", "2026-11-22T07:06:00Z", &["2026-11-22T07:10:00Z", "2026-11-22T07:11:00Z"]);
    utc("50/5 0 * * *", "2026-11-22T00:51:00Z", &["2026-11-22T00:55:00Z", "2026-11-23T00:50:00Z"]);
    utc("0 0 1 jan,JUL *", "2026-11-22T00:00:00Z", &["2027-01-01T00:00:00Z", "2027-07-01T00:00:00Z"]);
    utc("0 0 * * mon-fri", "2026-11-20T12:00:00Z", &["2026-11-23T00:00:00Z"]);
    utc("0 0 * * 7", "2026-11-20T12:00:00Z", &["2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z"]);
    utc("0 0 * * 0", "2026-11-20T12:00:00Z", &["2026-11-22T00:00:00Z"]);
    utc("0 0 31 * *", "2026-01-31T12:00:00Z", &["2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"]);
    // Either day is right when both are given, as everywhere.
    utc("0 0 13 * fri", "2026-11-10T00:00:00Z", &["2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z"]);
    utc("0 0 25 12 fri", "2026-11-22T00:00:00Z", &["2026-12-04T00:00:00Z"]);
    // Both must be when one begins with '*'.
    utc("0 0 */2 * fri", "2026-11-20T12:00:00Z", &["2026-11-27T00:00:00Z", "2026-12-11T00:00:00Z"]);
    utc("0 0 29 2 *", "2096-03-01T00:00:00Z", &["2104-02-29T00:00:00Z"]);
    utc("0 0 29 2 */7", "2060-03-01T00:00:00Z", &["2088-02-29T00:00:00Z"]);
    utc("  0\t3 * * *  ", "2026-11-22T00:00:00Z", &["2026-11-22T03:00:00Z"]);
}

/// Oslo goes from 02:00 to 03:00 on 2026-03-29 (01:00Z) and from 03:00 to 02:00 on 2026-10-25 (01:00Z).
#[test]
fn skipped_times_are_due_at_the_jump() {
    let oslo = |cron: &str, after: &str, due: &[&str]| check(cron, "Europe/Oslo", after, due);
    oslo("30 2 * * *", "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    oslo("0 2 * * *", "2026-03-29T00:59:59Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]);
    oslo("0 3 * * *", "2026-03-29T00:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"]);
    // One run for all that is skipped, and for what is due at the jump itself.
    oslo("*/15 2-3 * * *", "2026-03-29T00:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-29T01:15:00Z"]);
    // Evenly: nothing is caught up with.
    oslo("30 * * * *", "2026-03-29T00:00:00Z", &["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"]);
    // Samoa left a whole day out.
    let after = "2011-12-29T12:00:00-10:00";
    check("0 12 * * *", "Pacific/Apia", after, &["2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"]);
}

#[test]
fn times_that_come_twice_are_due_once() {
    let oslo = |cron: &str, after: &str, due: &[&str]| check(cron, "Europe/Oslo", after, due);
    oslo("30 2 * * *", "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    // Also when asked from within the hour that comes again.
    oslo("30 2 * * *", "2026-10-25T01:10:00Z", &["2026-10-26T01:30:00Z"]);
    oslo("30 2 * * *", "2026-10-25T01:00:00Z", &["2026-10-26T01:30:00Z"]);
    oslo("30 2-3 * * *", "2026-10-25T00:30:00Z", &["2026-10-25T02:30:00Z"]);
    oslo("0 3 * * *", "2026-10-25T00:00:00Z", &["2026-10-25T02:00:00Z"]);
    oslo(
        "30 * * * *",
        "2026-10-25T00:00:00Z",
        &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"],
    );
    // Half an hour on Lord Howe Island: from 02:00 back to 01:30.
    check(
        "*/15 1 * * *",
        "Australia/Lord_Howe",
        "2026-04-04T14:20:00Z",
        &["2026-04-04T14:30:00Z", "2026-04-04T14:45:00Z", "2026-04-05T14:30:00Z"],
    );
}

#[test]
fn a_site_has_its_own_clock() {
    let schedule = Schedule {
        cron: "0 3 * * *".into(),
        timezone: TimeZone::Site,
        overlap: Overlap::Allow,
        starting_deadline: None,
    };
    let due = |zone| {
        CompiledSchedule::new(&schedule, zone).unwrap().next_after(at("2026-06-01T00:00:00Z")).unwrap()
    };
    assert_eq!(shown(due(Some("Asia/Kolkata"))), "2026-06-01T21:30:00Z");
    assert_eq!(shown(due(None)), "2026-06-01T03:00:00Z");
    let error = CompiledSchedule::new(&schedule, Some("Mars/Base")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "'Mars/Base' is not a time zone: write an IANA name such as 'Europe/Oslo' or 'UTC'"
    );
}

#[test]
fn what_is_no_schedule() {
    let check = |cron: &str, expected: &str| {
        assert_eq!(
            compile(cron, "UTC").unwrap_err().to_string(),
            expected.replace("CRON", &format!("schedule '{cron}'"))
        );
    };
    check("", "CRON: at character 1: expected the minute");
    check("@daily", "CRON: at character 1: expected a minute from 0 to 59, found '@daily'");
    check("0 3 * *", "CRON: at character 8: expected the day of week");
    check(
        "0 3 * * * *",
        "CRON: at character 11: unexpected '*'; five fields are read: minute, hour, day of month, month, day of week",
    );
    check("60 3 * * *", "CRON: at character 1: expected a minute from 0 to 59, found '60'");
    check("0 3-x * * *", "CRON: at character 5: expected an hour from 0 to 23, found 'x'");
    check("0 9-3 * * *", "CRON: at character 5: hour 3 comes before 9");
    check("0 3 0 * *", "CRON: at character 5: expected a day of month from 1 to 31, found '0'");
    check(
        "0 3 * foo *",
        "CRON: at character 7: expected a month from 1 to 12 or a name such as 'jan', found 'foo'",
    );
    check(
        "0 3 * * mon,",
        "CRON: at character 13: expected a day of week from 0 to 7 or a name such as 'sun', found nothing",
    );
    check("*/0 * * * *", "CRON: at character 3: expected a step from 1 to 59, found '0'");
    check("*/+5 * * * *", "CRON: at character 3: expected a step from 1 to 59, found '+5'");
    check("+5 * * * *", "CRON: at character 1: expected a minute from 0 to 59, found '+5'");
    check("å * * * *", "CRON: at character 1: expected a minute from 0 to 59, found 'å'");
    for never in ["0 0 31 2 *", "0 0 30 feb *", "0 0 31 4,6,9,11 *"] {
        let error = compile(never, "UTC").unwrap_err();
        assert_eq!(error, ScheduleError::NeverDue { cron: never.to_owned() });
    }
    assert!(compile("0 0 31 2 mon", "UTC").is_ok(), "mondays of february");
    assert!(compile(&"1,".repeat(300), "UTC").is_err());
}

#[test]
fn the_last_due_time_is_found_in_any_span() {
    let last = |cron: &str, from: &str, to: &str| {
        compile(cron, "Europe/Oslo").unwrap().last_due_in(at(from), at(to)).map(shown)
    };
    let check = |cron: &str, from: &str, to: &str, due: Option<&str>| {
        assert_eq!(last(cron, from, to).as_deref(), due, "'{cron}' from {from} to {to}");
    };
    check("0 3 * * *", "2026-11-01T00:00:00Z", "2026-11-22T01:59:59Z", Some("2026-11-21T02:00:00Z"));
    check("0 3 * * *", "2026-11-01T00:00:00Z", "2026-11-22T02:00:00Z", Some("2026-11-22T02:00:00Z"));
    check("0 3 * * *", "2026-11-22T02:00:00Z", "2026-11-23T01:00:00Z", None);
    check("0 3 * * *", "2026-11-23T00:00:00Z", "2026-11-22T00:00:00Z", None);
    check("* * * 1 *", "1970-01-01T00:00:00Z", "2026-11-22T00:00:00Z", Some("2026-01-31T22:59:00Z"));
    check("30 2 * * *", "2026-10-24T00:30:00Z", "2026-10-25T12:00:00Z", Some("2026-10-25T00:30:00Z"));
}

#[test]
fn asking_costs_little() {
    let rare = compile("0 0 29 2 *", "Europe/Oslo").unwrap();
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(shown(rare.next_after(at("2096-03-01T00:00:00Z")).unwrap()), "2104-02-28T23:00:00Z");
    }
    assert!(began.elapsed().as_secs() < 1, "{:?} for 100", began.elapsed());
}

#[test]
fn after_the_calendar_nothing_is_due() {
    let schedule = compile("0 3 * * *", "Europe/Oslo").unwrap();
    assert_eq!(schedule.next_after(WallTime(u64::MAX)), None);
    assert_eq!(schedule.next_after(at("9999-12-30T12:00:00Z")), None);
    assert_eq!(schedule.last_due_in(WallTime(0), WallTime(u64::MAX)).map(|at| at.0 > 0), Some(true));
}

#[test]
fn zones_are_known_by_name() {
    for name in ["UTC", "Europe/Oslo", "europe/oslo", "America/Argentina/Buenos_Aires"] {
        assert!(Zone::named(name).is_ok(), "{name}");
    }
    for name in ["", "site", "Oslo", "Etc/Unknown", "../../etc/localtime", "+01:00"] {
        assert!(Zone::named(name).is_err(), "{name}");
    }
    assert!(Zone::names().iter().any(|name| name == "Europe/Oslo"));
}

#[test]
fn windows_open_by_the_sites_clock() {
    let zone = Zone::named("Europe/Oslo").unwrap();
    // Sundays and Mondays from 22:00 for four hours.
    let window = Window { days: 0b100_0001, from_minute: 22 * 60, minutes: 240 };
    let open =
        |time: &str, expected: bool| assert_eq!(window_is_open(&window, &zone, at(time)), expected, "{time}");
    open("2026-11-22T20:59:59Z", false);
    open("2026-11-22T21:00:00Z", true);
    open("2026-11-23T00:59:59Z", true);
    open("2026-11-23T01:00:00Z", false);
    open("2026-11-24T00:30:00Z", true);
    open("2026-11-24T21:30:00Z", false);
    open("2026-11-22T00:30:00Z", false);
    let next = |time: &str, expected: &str| {
        assert_eq!(
            window_opens_after(&window, &zone, at(time)).map(shown).as_deref(),
            Some(expected),
            "{time}"
        );
    };
    next("2026-11-22T20:00:00Z", "2026-11-22T21:00:00Z");
    next("2026-11-22T21:00:00Z", "2026-11-23T21:00:00Z");
    next("2026-11-24T12:00:00Z", "2026-11-29T21:00:00Z");
    let weekly = Window { days: 1, from_minute: 60, minutes: 1440 };
    let opens = window_opens_after(&weekly, &zone, at("2026-11-23T12:00:00Z"));
    assert_eq!(opens.map(shown).as_deref(), Some("2026-11-30T00:00:00Z"));
    assert!(window_is_open(&weekly, &zone, at("2026-11-23T23:59:00Z")));
    assert_eq!(window_opens_after(&Window { days: 0, ..weekly }, &zone, at("2026-11-23T12:00:00Z")), None);
}

/// The due times of a span, found by watching the clock minute by minute.
fn watched(schedule: &CompiledSchedule, from: Timestamp, minutes: i64) -> Vec<WallTime> {
    let shows = |at: Timestamp| schedule.zone.0.to_datetime(at);
    let due_at = |time: DateTime| schedule.cron.first_from(time) == Some(time);
    let mut latest = shows(from);
    let mut found = Vec::new();
    for minute in 1..=minutes {
        let now = from + minute.minutes();
        let time = shows(now);
        let mut due = schedule.cron.is_even() && due_at(time);
        while latest < time {
            latest += 1.minute();
            due |= !schedule.cron.is_even() && due_at(latest);
        }
        found.extend(due.then(|| wall(now).unwrap()));
    }
    found
}

fn field(min: u8, max: u8) -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        (min..=max).prop_map(|number| number.to_string()),
        (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        (2..=max).prop_map(|step| format!("*/{step}")),
        (min..=max, min..=max).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_watched_clock(
        (minute, hour) in (field(0, 59), prop_oneof![field(0, 3), field(0, 23)]),
        (day, weekday) in (prop_oneof![Just("*".to_owned()), field(1, 31)], prop_oneof![Just("*".to_owned()), field(0, 6)]),
        // Days around which clocks jump, and one without.
        (zone, from) in select(vec![
            ("Europe/Oslo", "2026-03-27T22:00:00Z"), ("Europe/Oslo", "2026-10-23T22:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-03T02:00:00Z"), ("Australia/Lord_Howe", "2026-10-02T02:00:00Z"),
            ("Pacific/Apia", "2011-12-28T22:00:00Z"), ("America/St_Johns", "2026-10-31T00:00:00Z"),
            ("Africa/Casablanca", "2026-02-13T22:00:00Z"), ("Asia/Kolkata", "2026-02-13T22:00:00Z"),
        ]),
        start in 0..1440_i64,
    ) {
        let schedule = compile(&format!("{minute} {hour} {day} * {weekday}"), zone);
        prop_assume!(schedule.is_ok());
        let schedule = schedule.unwrap();
        let from: Timestamp = from.parse().unwrap();
        let minutes = 3 * 1440;
        let end = wall(from + minutes.minutes()).unwrap();
        let start = wall(from + start.minutes()).unwrap();
        let watched: Vec<_> = watched(&schedule, from, minutes).into_iter().filter(|due| *due > start).collect();
        let mut found = Vec::new();
        let mut last = start;
        while let Some(due) = schedule.next_after(last).filter(|due| *due <= end) {
            found.push(due);
            last = due;
        }
        prop_assert_eq!(schedule.last_due_in(start, end), found.last().copied());
        prop_assert_eq!(found, watched);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[0-9*,/a-z@ å-]{0,40}") {
        if let Err(ScheduleError::Cron(error)) = compile(&text, "UTC") {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.position), "{}", error);
        }
    }
}
