//! Holds a document against the schema: which fields it has, and of which kind their values are.
//!
//! The schema is the generated one, with everything inlined, so what editors check and what is checked here cannot differ.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use crate::document::DocumentKind;
use crate::faults::Faults;
use crate::node::{Key, Kind, Node};
use crate::path::Path;
use crate::problem::{Hint, Problem};
use crate::schema::schema_of;
use crate::words;

/// The document without what is wrong in it, with placeholders where something must be. What is wrong is added to `faults`.
pub(crate) fn document(root: &Node, faults: &mut Faults<'_>) -> Value {
    let rule = schema_of(faults.kind);
    check(root, rule, &Path::ROOT, faults).unwrap_or_else(|| placeholder(rule))
}

/// The value without what is wrong in it, or nothing when it is wrong as a whole.
fn check(node: &Node, rule: &Value, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<Value> {
    match &node.kind {
        Kind::Map(fields) if takes(rule, "object") => Some(map(node, fields, rule, path, faults)),
        Kind::List(elements) if takes(rule, "array") => Some(list(elements, rule, path, faults)),
        Kind::Text(text) if takes(rule, "string") => choice(text, rule, path, faults),
        Kind::Number(_) | Kind::Bool(_) if takes_as_written(node, rule) => {
            let written = node.as_written(faults.text).unwrap_or_default();
            Some(Value::String(written.to_owned()))
        }
        Kind::Number(number) if takes_number(number, rule) => bounds(number, rule, path, faults),
        Kind::Bool(value) if takes(rule, "boolean") => Some(Value::Bool(*value)),
        _ => {
            faults.add(path, wrong_kind(node, faults.text, rule));
            None
        }
    }
}

fn types(rule: &Value) -> impl Iterator<Item = &str> {
    let types = &rule["type"];
    let many = types.as_array().map(Vec::as_slice).unwrap_or_default();
    types.as_str().into_iter().chain(many.iter().filter_map(Value::as_str))
}

fn takes(rule: &Value, kind: &str) -> bool {
    types(rule).any(|name| name == kind)
}

fn takes_number(number: &Number, rule: &Value) -> bool {
    takes(rule, "number") || takes(rule, "integer") && !number.is_f64()
}

fn takes_as_written(node: &Node, rule: &Value) -> bool {
    takes(rule, "string")
        && match &node.kind {
            Kind::Number(number) => takes_number(number, rule),
            Kind::Bool(_) => takes(rule, "boolean"),
            _ => false,
        }
}

fn map(node: &Node, fields: &[(Key, Node)], rule: &Value, path: &Path<'_>, faults: &mut Faults<'_>) -> Value {
    let mut read = Map::new();
    count(fields.len(), rule, "minProperties", "maxProperties", path, faults);
    let mut first_lines = BTreeMap::new();
    for (key, value) in fields {
        if faults.are_full() {
            break;
        }
        let path = path.field(&key.name);
        if let Some(first_line) = first_lines.get(key.name.as_str()).copied() {
            faults.add_at(key.at, &path, Problem::Repeated { first_line });
            continue;
        }
        first_lines.insert(key.name.as_str(), key.at.line);
        match field_rule(rule, &key.name) {
            Some(rule) => {
                read.extend(check(value, rule, &path, faults).map(|value| (key.name.clone(), value)));
            }
            None => faults.add_at(key.at, &path, unknown(&key.name, rule, faults.kind)),
        }
    }
    missing(node, fields, rule, path, faults);
    fill(&mut read, rule);
    Value::Object(read)
}

fn field_rule<'r>(rule: &'r Value, name: &str) -> Option<&'r Value> {
    rule["properties"].get(name).or_else(|| rule.get("additionalProperties").filter(|rest| rest.is_object()))
}

fn required(rule: &Value) -> impl Iterator<Item = &str> {
    let names = rule["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(Value::as_str)
}

/// Puts a placeholder wherever a field must be and is not, so that the rest of the document can be read and checked.
fn fill(read: &mut Map<String, Value>, rule: &Value) {
    for name in required(rule) {
        read.entry(name).or_insert_with(|| placeholder(&rule["properties"][name]));
    }
}

fn placeholder(rule: &Value) -> Value {
    if takes(rule, "object") {
        let mut fields = Map::new();
        fill(&mut fields, rule);
        return Value::Object(fields);
    }
    if takes(rule, "array") {
        return Value::Array(Vec::new());
    }
    if takes(rule, "string") {
        return rule["enum"].get(0).cloned().unwrap_or_else(|| String::new().into());
    }
    rule.get("minimum").cloned().unwrap_or_default()
}

fn missing(node: &Node, fields: &[(Key, Node)], rule: &Value, path: &Path<'_>, faults: &mut Faults<'_>) {
    for name in required(rule) {
        if fields.iter().any(|(key, _)| key.name == name) {
            continue;
        }
        let purpose = rule["properties"][name]["description"].as_str().unwrap_or_default();
        let purpose = purpose.trim_end_matches('.').to_owned();
        faults.add_at(node.at, &path.field(name), Problem::Missing { purpose });
    }
}

fn unknown(name: &str, rule: &Value, kind: DocumentKind) -> Problem {
    let siblings = rule["properties"].as_object();
    let names = || siblings.into_iter().flat_map(Map::keys).map(String::as_str);
    let elsewhere = homes_of(name, kind);
    let hint = if !elsewhere.is_empty() && elsewhere.len() <= 2 {
        Hint::BelongsTo(elsewhere.join(" or "))
    } else if let Some(near) = words::nearest(name, names()) {
        Hint::Nearest(near.to_owned())
    } else {
        Hint::Fields(names().map(str::to_owned).collect())
    };
    Problem::UnknownField { hint }
}

/// The maps, as paths, that have a field of that name.
fn homes_of(name: &str, kind: DocumentKind) -> Vec<String> {
    let mut homes = Vec::new();
    collect_homes(name, schema_of(kind), "", &mut homes);
    homes
}

fn collect_homes(name: &str, rule: &Value, path: &str, homes: &mut Vec<String>) {
    if path == "spec.init" {
        // Whatever an init container has, the others have too.
        return;
    }
    if takes(rule, "array") {
        collect_homes(name, &rule["items"], &format!("{path}[]"), homes);
    }
    let Some(fields) = rule["properties"].as_object() else { return };
    if fields.contains_key(name) {
        homes.push(if path.is_empty() { "the document itself".to_owned() } else { path.to_owned() });
    }
    for (field, rule) in fields {
        let dot = if path.is_empty() { "" } else { "." };
        collect_homes(name, rule, &format!("{path}{dot}{field}"), homes);
    }
}

fn list(elements: &[Node], rule: &Value, path: &Path<'_>, faults: &mut Faults<'_>) -> Value {
    count(elements.len(), rule, "minItems", "maxItems", path, faults);
    let read = elements.iter().enumerate().map(|(index, element)| {
        let rule = &rule["items"];
        // An element that is wrong as a whole keeps its place, so that the paths of those after it stay right.
        check(element, rule, &path.index(index), faults).unwrap_or_else(|| placeholder(rule))
    });
    Value::Array(read.collect())
}

fn count(found: usize, rule: &Value, least: &str, most: &str, path: &Path<'_>, faults: &mut Faults<'_>) {
    let bound = |name: &str| rule[name].as_u64().and_then(|bound| usize::try_from(bound).ok());
    let (min, max) = (bound(least).unwrap_or(0), bound(most).unwrap_or(usize::MAX));
    if found < min || found > max {
        faults.add(path, Problem::Count { found, min, max });
    }
}

fn choice(text: &str, rule: &Value, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<Value> {
    let value = Some(Value::String(text.to_owned()));
    let Some(choices) = rule["enum"].as_array() else { return value };
    let choices = || choices.iter().filter_map(Value::as_str);
    if choices().any(|choice| choice == text) {
        return value;
    }
    let problem = Problem::NotAChoice {
        found: text.to_owned(),
        choices: choices().collect::<Vec<_>>().join(", "),
        nearest: words::did_you_mean(text, choices()),
    };
    faults.add(path, problem);
    None
}

fn bounds(number: &Number, rule: &Value, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<Value> {
    let as_f64 = |bound: &Value| bound.as_f64();
    let (min, max) = (&rule["minimum"], &rule["maximum"]);
    let value = number.as_f64()?;
    let good = as_f64(min).is_none_or(|min| value >= min) && as_f64(max).is_none_or(|max| value <= max);
    if good {
        return Some(Value::Number(number.clone()));
    }
    faults.add(
        path,
        Problem::OutOfBounds { found: number.to_string(), min: min.to_string(), max: max.to_string() },
    );
    None
}

fn wrong_kind(node: &Node, text: &str, rule: &Value) -> Problem {
    let mut expected: Vec<&str> = types(rule)
        .map(|name| match name {
            "string" => "text",
            "integer" => "a whole number",
            "number" => "a number",
            "boolean" => "true or false",
            "array" => "a list",
            _ => "a map",
        })
        .collect();
    if takes(rule, "string") && takes(rule, "boolean") {
        expected = vec!["text"];
    }
    let advice = match &node.kind {
        Kind::Null => "; give it a value or leave the field out",
        Kind::Number(_) | Kind::Bool(_) if takes(rule, "string") => "; put it in quotes",
        Kind::Text(text) if takes(rule, "integer") && text.parse::<i64>().is_ok() => "; take the quotes away",
        Kind::Map(_) | Kind::Text(_) | Kind::Number(_) | Kind::Bool(_) if takes(rule, "array") => {
            "; begin each entry with '- '"
        }
        _ => "",
    };
    let found = match node.kind {
        Kind::Number(_) | Kind::Bool(_) => node.as_written(text).map(|written| format!("'{written}'")),
        _ => None,
    };
    Problem::WrongKind {
        expected: expected.join(" or "),
        found: found.unwrap_or_else(|| node.kind_name().to_owned()),
        advice,
    }
}
