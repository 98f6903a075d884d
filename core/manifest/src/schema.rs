//! The JSON Schema of a manifest, from the types in `raw`.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::document::DocumentKind;
use crate::raw;

static WORKLOAD: LazyLock<Value> = LazyLock::new(generate::<raw::Workload>);
static TENANT: LazyLock<Value> = LazyLock::new(generate::<raw::Tenant>);
static SITE: LazyLock<Value> = LazyLock::new(generate::<raw::Site>);

/// The kind comes first, so that an editor tells of the faults in the document's own kind only.
static ALL: LazyLock<Value> = LazyLock::new(|| {
    let branches = DocumentKind::ALL.map(|kind| {
        let is_kind = json!({ "properties": { "kind": { "const": kind.name() } } });
        json!({ "if": is_kind, "then": schema_of(kind) })
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Skerry manifest",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata"],
        "properties": {
            "apiVersion": { "type": "string", "enum": [raw::API_VERSION] },
            "kind": {
                "description": "What the document describes.",
                "type": "string",
                "enum": DocumentKind::ALL.map(DocumentKind::name),
            },
        },
        "allOf": branches,
    })
});

fn generate<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(AbsentIsNotNull);
    Value::from(SchemaGenerator::new(settings).into_root_schema_for::<T>())
}

/// The JSON Schema (draft 2020-12) of one document of any kind.
pub fn schema() -> &'static Value {
    &ALL
}

/// The JSON Schema of one document of this kind.
pub(crate) fn schema_of(kind: DocumentKind) -> &'static Value {
    match kind {
        DocumentKind::Workload => &WORKLOAD,
        DocumentKind::Tenant => &TENANT,
        DocumentKind::Site => &SITE,
    }
}

/// Takes `null` out of every type: a field that is not wanted is left out, and one that stands there has a value.
#[derive(Clone)]
struct AbsentIsNotNull;

impl Transform for AbsentIsNotNull {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.retain(|kind| kind != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                schema.insert("type".to_owned(), only);
            }
        }
        collapse_any_of_null(schema);
        if let Some(Value::Array(choices)) = schema.get_mut("enum") {
            choices.retain(|choice| !choice.is_null());
        }
        if schema.get("default").is_some_and(Value::is_null) {
            schema.remove("default");
        }
        transform_subschemas(self, schema);
    }
}

/// Turns "this or null", which optional maps and words become, into "this".
fn collapse_any_of_null(schema: &mut Schema) {
    let Some(Value::Array(choices)) = schema.get("anyOf") else { return };
    let mut some = choices.iter().filter(|choice| choice["type"] != "null");
    let (Some(Value::Object(only)), None) = (some.next().cloned(), some.next()) else { return };
    schema.remove("anyOf");
    for (name, value) in only {
        if schema.get(&name).is_none() {
            schema.insert(name, value);
        }
    }
}
