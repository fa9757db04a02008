//! Looks up host names, and says of a failure that it was one: ureq and the C library's resolver
//! have no kind of error for it.

use std::fmt;
use std::io;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// A name that could not be looked up.
#[derive(Debug)]
pub struct NotFound(io::Error);

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for NotFound {}

/// ureq's resolver, with [`NotFound`] for its errors of input and output.
#[derive(Debug, Default)]
struct Names(DefaultResolver);

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.0.resolve(uri, config, timeout).map_err(|error| match error {
            ureq::Error::Io(error) => ureq::Error::Other(Box::new(NotFound(error))),
            error => error,
        })
    }
}

/// An agent whose failures [`super::Unreached`] can tell apart.
pub fn agent(config: Config) -> Agent {
    Agent::with_parts(config, DefaultConnector::default(), Names::default())
}
