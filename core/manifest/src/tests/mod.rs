//! What is read, what is refused and in which words.

mod containers;
mod kinds;
mod life;
mod reading;

use super::*;

const LEAST: &str = "\
apiVersion: skerry/v1
kind: Workload
metadata:
  name: web
spec:
  containers:
    - name: nginx
      image: registry.example/nginx:1.22
";

/// The smallest manifest with lines added to its container.
fn with_container(lines: &str) -> String {
    lines.lines().fold(LEAST.to_owned(), |text, line| format!("{text}      {line}\n"))
}

/// The smallest manifest with lines added to its spec.
fn with_spec(lines: &str) -> String {
    lines.lines().fold(LEAST.to_owned(), |text, line| format!("{text}  {line}\n"))
}

fn errors(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err("the text must be refused");
    errors.iter().map(ToString::to_string).collect()
}

/// The text is refused with this error and no other. A `^` stands before the place that the error must name.
#[track_caller]
fn refuses(marked: &str, expected: &str) {
    let (text, place) = unmark(marked);
    assert_eq!(errors(&text), [format!("{place}{expected}")], "\n{marked}");
}

/// The text without its `^`, and how an error names that place.
fn unmark(marked: &str) -> (String, String) {
    let (before, after) = marked.split_once('^').expect("a mark before the place of the error");
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (format!("{before}{after}"), format!("line {line}, column {column}: "))
}

#[track_caller]
fn refuses_container(lines: &str, expected: &str) {
    let object = "workload 'web', container 'nginx': spec.containers[0].";
    refuses(&with_container(lines), &format!("{object}{expected}"));
}

#[track_caller]
fn refuses_spec(lines: &str, expected: &str) {
    refuses(&with_spec(lines), &format!("workload 'web': spec.{expected}"));
}

fn only(text: &str) -> WorkloadSpec {
    let documents = parse(text).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let [document] = <[WorkloadDocument; 1]>::try_from(documents).expect("one document");
    document.spec
}
