//! The JSON Schema of a manifest, from the types in `raw`.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use crate::raw::Manifest;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(AbsentIsNotNull);
    let mut value = Value::from(SchemaGenerator::new(settings).into_root_schema_for::<Manifest>());
    if let Some(root) = value.as_object_mut() {
        root.insert("title".to_owned(), "Skerry workload".into());
    }
    value
});

/// The JSON Schema (draft 2020-12) of one document.
pub fn schema() -> &'static Value {
    &SCHEMA
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
        if schema.get("default").is_some_and(Value::is_null) {
            schema.remove("default");
        }
        transform_subschemas(self, schema);
    }
}
