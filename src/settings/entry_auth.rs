//! Who is asked for a name at an entry point, as its notation says it.

use std::fmt;

use super::entrypoint::parts;

/// Who is asked for a name. Basic goes before digest, digest before forward.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EntryAuth {
    /// RFC 7617.
    pub basic: Option<EntryUsers>,
    /// RFC 7616.
    pub digest: Option<EntryUsers>,
    /// Another server is asked.
    pub forward: Option<EntryForward>,
    /// The line in which servers get the name.
    pub header_field: String,
}

/// Users and their secrets.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct EntryUsers {
    /// `NAME:HASH`.
    pub users: Vec<String>,
    /// A file of them.
    pub users_file: String,
    /// Whether servers do not see `Authorization`.
    pub remove_header: bool,
}

impl fmt::Debug for EntryUsers {
    /// Without anybody's hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryUsers").field("users_file", &self.users_file).finish_non_exhaustive()
    }
}

/// Another server that is asked.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct EntryForward {
    /// Its URL.
    pub address: String,
    /// Whether anything is said of TLS.
    pub has_tls: bool,
    /// Who signed its certificate: a file, or PEM.
    pub ca: String,
    /// Our certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
    /// Whether its certificate is left unchecked.
    pub insecure_skip_verify: bool,
    /// Whether a trusted client's own `X-Forwarded-*` lines are passed on.
    pub trust_forward_header: bool,
    /// Lines of its answer that the servers get.
    pub auth_response_headers: Vec<String>,
}

impl fmt::Debug for EntryForward {
    /// Without its address, which may hold a password, and without a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryForward").finish_non_exhaustive()
    }
}

impl EntryAuth {
    /// Takes what stands below `Auth.`, in lower case. Tells whether that can be read.
    pub(super) fn set(&mut self, below: &[&str], value: &str) -> bool {
        let flag = |place: &mut bool| match value {
            "true" | "false" => {
                *place = value == "true";
                true
            }
            _ => false,
        };
        let is_said = !value.is_empty();
        match below {
            ["headerfield"] => self.header_field = value.to_owned(),
            ["forward", key @ ..] => {
                let forward = self.forward.get_or_insert_default();
                forward.has_tls |= matches!(key, ["tls", _, ..]);
                match key {
                    ["address"] => forward.address = value.to_owned(),
                    ["authresponseheaders"] => forward.auth_response_headers = parts(value),
                    ["trustforwardheader"] => return flag(&mut forward.trust_forward_header),
                    ["tls", "ca"] => forward.ca = value.to_owned(),
                    ["tls", "cert"] => forward.cert = value.to_owned(),
                    ["tls", "key"] => forward.key = value.to_owned(),
                    // Servers always show a certificate.
                    ["tls", "caoptional"] => {}
                    ["tls", "insecureskipverify"] => {
                        return flag(&mut forward.insecure_skip_verify);
                    }
                    _ => return false,
                }
            }
            [kind @ ("basic" | "digest"), key] => {
                let users = if *kind == "basic" { &mut self.basic } else { &mut self.digest };
                let users = users.get_or_insert_default();
                match *key {
                    "users" => users.users = parts(value),
                    "usersfile" => users.users_file = value.to_owned(),
                    "removeheader" => return flag(&mut users.remove_header),
                    _ => return false,
                }
            }
            _ => return false,
        }
        is_said
    }
}
