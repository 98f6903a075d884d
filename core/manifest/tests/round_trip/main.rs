//! What is written reads back as the same, and no text, however odd, is more than refused.

mod life;
mod others;
mod workloads;

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use skerry_manifest::{Document, Documented, documents, parse, to_manifest, to_yaml};

use crate::others::{site, tenant};
use crate::workloads::spec;

/// JSON in ASCII: it may hold raw control characters that YAML, and so the reader, does not take unescaped.
fn ascii(json: &str) -> String {
    let mut text = String::new();
    for c in json.chars() {
        match c {
            ' '..='~' => text.push(c),
            _ => text.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
        }
    }
    text
}

const FULL: &str = include_str!("../../testdata/full.yaml");

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_back(spec in spec()) {
        for text in [to_yaml(&spec), ascii(&to_manifest(&spec).to_string())] {
            let documents = parse(&text).map_err(|errors| TestCaseError::fail(format!("{text}\n{errors:#?}")))?;
            prop_assert_eq!(documents.len(), 1);
            prop_assert_eq!(&documents[0].spec, &spec, "{}", text);
        }
    }

    #[test]
    fn many_documents_read_back(specs in vec(spec(), 1..4)) {
        let keys: BTreeSet<_> = specs.iter().map(|spec| spec.key.clone()).collect();
        prop_assume!(keys.len() == specs.len());
        let texts: Vec<String> = specs.iter().map(to_yaml).collect();
        let documents = parse(&texts.join("---\n")).map_err(|errors| TestCaseError::fail(format!("{errors:#?}")))?;
        let read: Vec<_> = documents.into_iter().map(|document| document.spec).collect();
        prop_assert_eq!(read, specs);
    }

    #[test]
    fn tenants_and_sites_read_back(tenant in tenant(), site in site()) {
        let written = [Document::Tenant(tenant), Document::Site(site)];
        for text in [
            written.each_ref().map(Document::to_yaml).join("---\n"),
            written.each_ref().map(|one| ascii(&one.to_manifest().to_string())).join("\n---\n"),
        ] {
            let read = documents(&text).map_err(|errors| TestCaseError::fail(format!("{text}\n{errors:#?}")))?;
            let read: Vec<_> = read.into_iter().map(|Documented { document, .. }| document).collect();
            prop_assert_eq!(read.as_slice(), written.as_slice(), "{}", text);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        accepts_or_places(&text)?;
    }

    #[test]
    fn odd_yaml_is_read_or_refused(text in "([ \\n:,&*!|>'\"%@?~#-]|a|1|\\[|\\]|\\{|\\}|---|<<: |\\.\\.\\.){0,60}") {
        accepts_or_places(&text)?;
    }

    #[test]
    fn a_damaged_manifest_is_read_or_refused(
        damage in vec((any::<Index>(), 0..4_usize, "[\\PC\\n\\t\\x00]{0,3}"), 1..6),
    ) {
        let mut chars: Vec<char> = FULL.chars().collect();
        for (at, cut, put) in damage {
            let at = at.index(chars.len());
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, put.chars());
        }
        accepts_or_places(&chars.into_iter().collect::<String>())?;
    }
}

/// A text is read, or every error has a place that is in it.
fn accepts_or_places(text: &str) -> Result<(), TestCaseError> {
    let Err(errors) = documents(text) else { return Ok(()) };
    prop_assert!(!errors.is_empty());
    let lines = 1 + text.chars().filter(|c| matches!(c, '\n' | '\r')).count();
    for error in errors {
        prop_assert!(error.line >= 1 && error.column >= 1, "{}", error);
        prop_assert!(usize::try_from(error.line).is_ok_and(|line| line <= lines + 1), "{}", error);
    }
    Ok(())
}
