//! Errors in words.

use std::error::Error;

/// An error and its causes on one line; a cause that is already told is left out.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let part = cause.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Told(&'static str, #[source] Option<Box<Told>>);

    #[test]
    fn causes_follow_once() {
        let check = |words: &[&'static str], expect: &str| {
            let error = words.iter().rev().fold(None, |cause, word| Some(Box::new(Told(word, cause))));
            assert_eq!(chain(&*error.unwrap()), expect);
        };
        check(&["no"], "no");
        check(&["no link", "refused", "port 1"], "no link: refused: port 1");
        check(&["no link: refused", "refused"], "no link: refused");
    }
}
