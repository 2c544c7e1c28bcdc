//! Who is asked for TXT records.

use std::fmt;

use futures_util::future::BoxFuture;
use hickory_resolver::{TokioResolver, proto::rr::RData};
use thiserror::Error;

use crate::DiscoveryError;

/// Most TXT records of one name that are looked at.
const TEXTS_MAX: usize = 16;

/// Asks for TXT records.
pub trait TxtResolver: fmt::Debug + Send + Sync {
    /// The texts of a name, each with its character strings joined.
    fn txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<String>, ResolveError>>;
}

/// Why there are no texts. Nobody's fault.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ResolveError {
    /// The name has none, or nobody answers for it.
    #[error("{0}")]
    Missing(String),
    /// Nobody answered in time.
    #[error("nobody answered in time")]
    Timeout,
}

/// The resolvers that the system is configured with.
#[derive(Clone)]
pub struct SystemResolver(TokioResolver);

impl SystemResolver {
    /// Reads the system's configuration.
    pub fn new() -> Result<Self, DiscoveryError> {
        let builder = TokioResolver::builder_tokio();
        let resolver = builder.and_then(|builder| builder.build());
        resolver.map(Self).map_err(|error| DiscoveryError::Resolver(error.to_string()))
    }
}

impl fmt::Debug for SystemResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SystemResolver")
    }
}

impl TxtResolver for SystemResolver {
    fn txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<String>, ResolveError>> {
        Box::pin(async move {
            // absolute, or search domains would be tried as well
            let answer = self.0.txt_lookup(format!("{name}.")).await;
            let answer = answer.map_err(|error| ResolveError::Missing(error.to_string()))?;
            let texts = answer.answers().iter().filter_map(|record| match &record.data {
                RData::TXT(txt) => String::from_utf8(txt.txt_data.concat()).ok(),
                _ => None,
            });
            Ok(texts.take(TEXTS_MAX).collect())
        })
    }
}
