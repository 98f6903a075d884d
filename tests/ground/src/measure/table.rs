use super::Measurement;

/// Prints all values with what they are compared with.
pub fn table(rows: &[Measurement]) {
    println!("{:44} {:>10} {:8} {:>34} {:>6}  goal", "measured", "value", "unit", "against", "ratio");
    for row in rows {
        let against = row.against().map(|(name, value)| format!("{name} {}", number(value)));
        let ratio = row.ratio().map(|ratio| format!("{ratio:.2}"));
        let verdict = if row.ok() { "ok" } else { "MISSED" };
        let goal = row.goal().map(|goal| format!("{goal}: {verdict}"));
        let [against, ratio, goal] = [against, ratio, goal].map(Option::unwrap_or_default);
        let value = number(row.value());
        println!("{:44} {value:>10} {:8} {against:>34} {ratio:>6}  {goal}", row.name(), row.unit());
    }
}

/// Three digits that matter, no more.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        small if small < 1.0 => 3,
        small if small < 10.0 => 2,
        small if small < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}
