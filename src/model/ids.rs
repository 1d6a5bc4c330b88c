//! Names that cannot be taken for one another.

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Which provider a thing came from; also the key of Traefik 1.7's `/api/providers`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ProviderName {
    /// Rule files. First: what somebody wrote down goes before what came by itself.
    File,
    /// The Docker Engine API.
    Docker,
    /// The Rancher 1.x metadata service.
    Rancher,
}

impl ProviderName {
    /// The name in routes, logs, metrics and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Docker => "docker",
            Self::Rancher => "rancher",
        }
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for ProviderName {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "file" => Ok(Self::File),
            "docker" => Ok(Self::Docker),
            "rancher" => Ok(Self::Rancher),
            _ => Err(()),
        }
    }
}

macro_rules! provider_scoped {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, Hash, PartialEq)]
        pub struct $name {
            /// Where it came from: two providers may use one name without meeting.
            pub provider: ProviderName,
            /// The name within that provider.
            pub name: Arc<str>,
        }

        impl $name {
            /// Puts a provider and a name together.
            pub fn new(provider: ProviderName, name: impl Into<Arc<str>>) -> Self {
                Self { provider, name: name.into() }
            }
        }

        impl Ord for $name {
            /// By provider, then by name. Where a thousand of them are held against those of a moment ago, nearly all are one
            /// in memory: these are not read.
            fn cmp(&self, other: &Self) -> Ordering {
                self.provider.cmp(&other.provider).then_with(|| {
                    match Arc::ptr_eq(&self.name, &other.name) {
                        true => Ordering::Equal,
                        false => self.name.cmp(&other.name),
                    }
                })
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.provider, self.name)
            }
        }
    };
}

provider_scoped! {
    /// Names a frontend: `docker/frontend-Host-web-shop-local`.
    FrontendId
}

provider_scoped! {
    /// Names a backend: `rancher/backend-web-test-proxy-test`.
    BackendId
}

impl FrontendId {
    /// The name of a frontend whose own name another rule of the same backend has already.
    #[must_use]
    pub fn of_rule(&self, rule: &str) -> Self {
        Self::new(self.provider, format!("{}-{:08x}", self.name, digest(rule.bytes())))
    }

    /// The name of a frontend whose own name another backend's frontend has already.
    #[must_use]
    pub fn beside(&self, backend: &BackendId) -> Self {
        Self::new(self.provider, format!("{}-{}", self.name, backend.name))
    }
}

impl BackendId {
    /// The name of a backend whose own name another one has already that is not meant by it.
    #[must_use]
    pub fn of_mark(&self, mark: NonZeroU32) -> Self {
        Self::new(self.provider, format!("{}-{mark:08x}", self.name))
    }
}

/// FNV-1a, 32 bits: short, and the same everywhere.
pub(crate) fn digest(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811c_9dc5_u32, |digest, byte| (digest ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Names a server within its backend.
pub type ServerName = Arc<str>;
