//! Identity tokens: what a login leaves of registries that give programs no password. One is exchanged for a bearer token
//! before each pull.
//!
//! Owns the two requests for that; stores nothing. Source: the distribution project's "Oauth2 Token Authentication".

use std::fmt;

use http_auth::parser::ChallengeParser;
use oci_client::errors::OciDistributionError;
use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Client, StatusCode};
use serde::Deserialize;

/// Who we are to a token service.
const CLIENT_ID: &str = "boxlite";

/// The token itself; `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct IdentityToken(pub(super) String);

impl fmt::Debug for IdentityToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityToken(..)")
    }
}

/// Where a registry wants tokens to be got.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
}

/// What came of an exchange.
#[derive(Debug)]
pub(super) enum Exchanged {
    /// A bearer token.
    Token(String),
    /// The registry asks for nothing.
    NotAsked,
    /// It asks for something else.
    OfNoUse,
}

/// Gets a bearer token that pulls `repository` of the registry at `base`, a URL without a path.
pub(super) async fn exchange(
    client: &Client,
    base: &str,
    repository: &str,
    token: &IdentityToken,
) -> Result<Exchanged, OciDistributionError> {
    let greeting = client.get(format!("{base}/v2/")).send().await?;
    let Some(wanted) = greeting.headers().get(WWW_AUTHENTICATE) else { return Ok(Exchanged::NotAsked) };
    let Some(challenge) = wanted.to_str().ok().and_then(bearer_challenge) else {
        return Ok(Exchanged::OfNoUse);
    };
    let scope = format!("repository:{repository}:pull");
    let mut form = vec![
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT_ID),
        ("scope", &scope),
        ("refresh_token", &token.0),
    ];
    form.extend(challenge.service.as_deref().map(|service| ("service", service)));
    let answer = client.post(&challenge.realm).form(&form).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    if status != StatusCode::OK {
        return Err(OciDistributionError::AuthenticationFailure(format!("{status} {text}")));
    }
    match serde_json::from_str::<Answer>(&text) {
        Ok(answer) => Ok(Exchanged::Token(answer.access_token)),
        Err(error) => Err(OciDistributionError::RegistryTokenDecodeError(error.to_string())),
    }
}

/// The challenge for a bearer token among those of a `WWW-Authenticate` header (RFC 9110, 11.6.1).
fn bearer_challenge(header: &str) -> Option<Challenge> {
    let challenges = ChallengeParser::new(header).map_while(Result::ok);
    let bearer = challenges.into_iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case("bearer"))?;
    let value = |wanted: &str| {
        let found = bearer.params.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.to_unescaped())
    };
    Some(Challenge { realm: value("realm")?, service: value("service") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bearer_challenge_is_found_among_others() {
        let header = r#"Basic realm="x", BEARER realm="https://a.example/token",service="registry \"one\"""#;
        let found = bearer_challenge(header).expect("a challenge");
        assert_eq!(found.realm, "https://a.example/token");
        assert_eq!(found.service.as_deref(), Some("registry \"one\""));
        let bare = bearer_challenge(r#"Bearer realm="http://b/t""#).expect("a challenge");
        assert_eq!(bare, Challenge { realm: "http://b/t".into(), service: None });
        for none in ["", "Basic realm=\"x\"", "Bearer service=\"x\"", "\u{1}"] {
            assert_eq!(bearer_challenge(none), None, "{none:?}");
        }
    }
}
