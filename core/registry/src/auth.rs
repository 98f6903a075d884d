//! Answers to a registry's `401`: basic credentials or a bearer token from the server that it names.

use std::time::{Duration, Instant};

use http_auth::ChallengeRef;
use http_auth::parser::ChallengeParser;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;

/// What the token specification says a token without `expires_in` lasts.
const DEFAULT_TOKEN_LIFE: Duration = Duration::from_mins(1);
/// No token is kept longer, whatever its server says: it is cheap to fetch and may be revoked.
const MAX_TOKEN_LIFE: Duration = Duration::from_hours(1);

/// How requests for one repository are authorized.
#[derive(Clone)]
pub(crate) enum Authorization {
    /// The host's own user and password.
    Basic,
    /// A token, as a complete header value.
    Bearer { header: HeaderValue, until: Instant },
}

impl Authorization {
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        match self {
            Self::Basic => true,
            Self::Bearer { until, .. } => now < *until,
        }
    }
}

/// What a registry wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

impl Challenge {
    /// The challenge to answer out of a response's headers: a token before a password, since a registry that offers
    /// both scopes the token to the repository.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<Self> = values
            .flat_map(|value| ChallengeParser::new(value).map_while(Result::ok))
            .filter_map(|challenge| parse(&challenge))
            .collect();
        let bearer = challenges.iter().position(|challenge| matches!(challenge, Self::Bearer { .. }));
        challenges.into_iter().nth(bearer.unwrap_or(0))
    }
}

fn parse(challenge: &ChallengeRef<'_>) -> Option<Challenge> {
    if challenge.scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !challenge.scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let param = |name: &str| {
        let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_unescaped())
    };
    let realm = Url::parse(&param("realm")?).ok()?;
    Some(Challenge::Bearer { realm, service: param("service") })
}

/// The URL that gives a pull token for `repository`. The scope that the challenge asks for is not used: reading is
/// all that is ever done here.
pub(crate) fn token_url(mut realm: Url, service: Option<&str>, repository: &str) -> Url {
    let mut query = realm.query_pairs_mut();
    if let Some(service) = service {
        query.append_pair("service", service);
    }
    query.append_pair("scope", &format!("repository:{repository}:pull"));
    drop(query);
    realm
}

/// Reads a token server's answer; none when it holds no usable token.
pub(crate) fn parse_token(body: &[u8], now: Instant) -> Option<Authorization> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty())?;
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    let life = answer.expires_in.map_or(DEFAULT_TOKEN_LIFE, Duration::from_secs).min(MAX_TOKEN_LIFE);
    // A tenth early, so that a token does not run out on the way to the registry.
    Some(Authorization::Bearer { header, until: now + life * 9 / 10 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(value).expect("header"));
        }
        Challenge::from_headers(&headers)
    }

    #[test]
    fn challenges_are_read() {
        let bearer = || {
            let realm = Url::parse("https://auth.example/token").expect("url");
            Some(Challenge::Bearer { realm, service: Some("r,s".to_owned()) })
        };
        let text = "Bearer realm=\"https://auth.example/token\",service=\"r,s\",scope=\"repository:x:pull\"";
        assert_eq!(challenge(&[text]), bearer());
        assert_eq!(challenge(&["Basic realm=\"x\"", text]), bearer());
        assert_eq!(challenge(&["basic realm=\"x\""]), Some(Challenge::Basic));
        assert_eq!(challenge(&["Negotiate"]), None);
        assert_eq!(challenge(&["Bearer realm=\"not a url\""]), None);
        assert_eq!(challenge(&["\u{1}".trim_matches('\u{1}')]), None);
        assert_eq!(challenge(&[]), None);
    }

    #[test]
    fn tokens_are_bounded_in_time_and_never_panic() {
        let now = Instant::now();
        let until = |body: &str| match parse_token(body.as_bytes(), now) {
            Some(Authorization::Bearer { until, .. }) => Some((until - now).as_secs()),
            _ => None,
        };
        assert_eq!(until(r#"{"token":"t"}"#), Some(54));
        assert_eq!(until(r#"{"access_token":"t","expires_in":100}"#), Some(90));
        assert_eq!(until(r#"{"token":"t","expires_in":18446744073709551615}"#), Some(3240));
        assert_eq!(until(r#"{"token":"a\nb"}"#), None);
        assert_eq!(until(r#"{"token":""}"#), None);
        assert_eq!(until("[]"), None);
    }

    #[test]
    fn the_token_url_asks_for_pull_only() {
        let realm = Url::parse("https://auth.example/token?a=b").expect("url");
        let url = token_url(realm, Some("r s"), "team/web");
        assert_eq!(url.query(), Some("a=b&service=r+s&scope=repository%3Ateam%2Fweb%3Apull"));
    }
}
