//! Who may call.

use std::sync::Arc;

use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::Api;
use crate::ca::Ca;
use crate::clock::Clock;
use crate::tls_listener::Caller;

/// Lets only operators in: users whom this region's CA certified, or that of a region above.
#[derive(Debug, Clone)]
pub(crate) struct OnlyOperators {
    ca: Arc<Ca>,
    clock: Clock,
}

impl OnlyOperators {
    pub(crate) fn of(api: &Api) -> Self {
        Self { ca: Arc::clone(&api.ca), clock: api.clock.clone() }
    }
}

impl Interceptor for OnlyOperators {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = request.extensions().get::<Caller>();
        let name = match caller {
            Some(caller) => {
                let name = caller.operator(self.clock.now().wall, &self.ca.authorities());
                name.map_err(Status::permission_denied)?
            }
            None => return Err(Status::unauthenticated("the connection has no certificate")),
        };
        tracing::debug!(operator = %name, "a call");
        request.extensions_mut().insert(OperatorName(name));
        Ok(request)
    }
}

/// The operator who calls.
#[derive(Debug, Clone)]
pub(crate) struct OperatorName(pub(crate) String);

pub(super) fn who<T>(request: &Request<T>) -> String {
    request.extensions().get::<OperatorName>().map(|name| name.0.clone()).unwrap_or_default()
}
