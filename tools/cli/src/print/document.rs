//! JSON and YAML.

use serde_json::Value;

use crate::failure::Failure;

/// Indented JSON with a line end.
pub(crate) fn json(value: &Value) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Answer(error.to_string()))?;
    Ok(text + "\n")
}

/// JSON on one line.
pub(crate) fn json_line(value: &Value) -> String {
    format!("{value}\n")
}

/// One YAML document, without `---`.
pub(crate) fn yaml(value: &Value) -> Result<String, Failure> {
    let mut text = skerry_manifest::yaml_text(value).map_err(|error| Failure::Answer(error.to_string()))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Several YAML documents in one text.
pub(crate) fn yaml_all(values: &[Value]) -> Result<String, Failure> {
    let documents: Result<Vec<String>, Failure> = values.iter().map(yaml).collect();
    Ok(documents?.join("---\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_is_indented_and_documents_are_parted() {
        let one =
            json!({"metadata": {"name": "web"}, "spec": {"args": ["-g", "yes"], "env": {"PORT": "80"}}});
        let text = yaml_all(&[one, json!({"a": 1})]).unwrap();
        let (first, second) = text.split_once("---\n").unwrap();
        assert_eq!(second, "a: 1\n");
        assert!(first.starts_with("metadata:\n  name: web\n"), "{first}");
        // A text that looks like another kind of value stays text.
        assert!(first.contains("\"80\"") || first.contains("'80'"), "{first}");
        assert!(first.contains("\"yes\"") || first.contains("'yes'"), "{first}");
    }
}
