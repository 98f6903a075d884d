//! Join tokens.

use std::time::Duration;

use skerry_api::v1;
use skerry_link::JoinToken;
use skerry_region_state::{ApiCall, ApiReply, NewToken, SecretHash, TokenId, TokenScope};
use skerry_types::WallTime;
use tonic::{Request, Response, Status};

use super::callers::who;
use super::{Answer, Api, invalid, unexpected};
use crate::view;

/// Longest life of a join token.
const LIFE_MAX: Duration = Duration::from_hours(2160);

impl Api {
    pub(super) async fn make_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Answer<v1::CreateTokenResponse> {
        let operator = who(&request);
        let v1::CreateTokenRequest { site, ttl_ms, uses, region } = request.into_inner();
        let scope = self.scope(&site, region)?;
        let life = Duration::from_millis(ttl_ms);
        if life.is_zero() || life > LIFE_MAX {
            return Err(Status::invalid_argument("a token's time to live must be between 1 ms and 90 days"));
        }
        if uses == 0 {
            return Err(Status::invalid_argument("a token must have at least one use"));
        }
        let token = JoinToken::generate(self.root, self.link_addresses.clone()).map_err(invalid)?;
        let id: TokenId = token.id.to_string().parse().map_err(invalid)?;
        let expires = WallTime(self.clock.now().wall.0.saturating_add(ttl_ms));
        let secret = SecretHash(token.secret.hash());
        let whose = match &scope {
            TokenScope::Site(site) => format!("site {site}"),
            TokenScope::Region(Some(region)) => format!("region {region}"),
            TokenScope::Region(None) => "any region".to_owned(),
        };
        tracing::info!(%operator, token = %id, whose, uses, "token created");
        let new = NewToken { id: id.clone(), secret, scope, expires, uses };
        self.ask(ApiCall::CreateToken(new)).await?;
        Ok(Response::new(v1::CreateTokenResponse {
            id: id.to_string(),
            token: token.to_text(),
            expires_at_ms: expires.0,
        }))
    }

    fn scope(&self, site: &str, region: Option<v1::RegionScope>) -> Result<TokenScope, Status> {
        let Some(v1::RegionScope { name }) = region else {
            return Ok(TokenScope::Site(site.parse().map_err(invalid)?));
        };
        if !site.is_empty() {
            let message = "a token is for nodes of a site or for a region below, not for both";
            return Err(Status::invalid_argument(message));
        }
        if self.ca.levels_below() == 0 {
            let message = format!(
                "no region may be below '{}': the tree is as deep as it may be; join it to a region further up",
                self.region
            );
            return Err(Status::failed_precondition(message));
        }
        let name = (!name.is_empty()).then(|| name.parse()).transpose().map_err(invalid)?;
        Ok(TokenScope::Region(name))
    }

    pub(super) async fn tokens(
        &self,
        _request: Request<v1::ListTokensRequest>,
    ) -> Answer<v1::ListTokensResponse> {
        let ApiReply::Tokens(tokens) = self.ask(ApiCall::Tokens).await? else { return Err(unexpected()) };
        Ok(Response::new(v1::ListTokensResponse { tokens: tokens.into_iter().map(view::token).collect() }))
    }

    pub(super) async fn take_token_back(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Answer<v1::RevokeTokenResponse> {
        let operator = who(&request);
        let id: TokenId = request.get_ref().id.parse().map_err(invalid)?;
        self.ask(ApiCall::RevokeToken(id.clone())).await?;
        tracing::info!(%operator, token = %id, "token revoked");
        Ok(Response::new(v1::RevokeTokenResponse {}))
    }
}
