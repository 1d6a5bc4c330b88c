//! The steps that keep strangers out, out of what was asked for. One that cannot be made lets nobody in.

use std::sync::Arc;

use crate::config::guards::{header_field, pem};
use crate::config::{AllowList, Auth, UsersAuth};
use crate::live::Live;
use crate::middleware::auth::{BasicAuth, DigestAuth, ForwardAuth, Told};
use crate::middleware::{self, Closed, Handler, kept};
use crate::settings::{EntryAuth, EntryUsers};

/// Who may pass by address.
pub(super) fn allow_list(list: &AllowList) -> Arc<dyn Handler> {
    match middleware::AllowList::new(&list.source_range, list.use_x_forwarded_for) {
        Ok(step) => Arc::new(step),
        Err(_) => closed("whiteList.sourceRange"),
    }
}

/// Who may pass by name. Basic goes before digest, digest before forward.
pub(super) fn auth(auth: &Auth, live: &Live) -> Arc<dyn Handler> {
    let told = |users: &UsersAuth| Told {
        remove_header: users.remove_header,
        header_field: header_field(auth),
    };
    let file = |users: &UsersAuth| {
        let path = Some(&users.users_file).filter(|path| !path.is_empty());
        path.map(|path| live.file(path))
    };
    if let Some(basic) = &auth.basic {
        // One memory for all: what was checked for one frontend was checked.
        let verified = (live.key().clone(), kept(live, "auth", Default::default));
        return Arc::new(BasicAuth::new(basic.users.clone(), file(basic), told(basic), verified));
    }
    if let Some(digest) = &auth.digest {
        // One memory for all: what was heard at one frontend must not be said again at another.
        let nonces = (live.key().clone(), kept(live, "auth", Default::default));
        return Arc::new(DigestAuth::new(digest.users.clone(), file(digest), told(digest), nonces));
    }
    match forward(auth, live) {
        Some(step) => Arc::new(step),
        None => closed("auth"),
    }
}

fn forward(auth: &Auth, live: &Live) -> Option<ForwardAuth> {
    let wish = auth.forward.as_ref()?;
    let step = ForwardAuth::new(&wish.address).ok()?;
    let headers = wish.auth_response_headers.clone();
    let step = step.telling(wish.trust_forward_header, headers, header_field(auth)).ok()?;
    let Some(tls) = &wish.tls else { return Some(step) };
    let of = |word: &str| pem(word, |path| live.file(path));
    let identity = match (of(&tls.cert), of(&tls.key)) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => return None,
    };
    Some(step.tls(of(&tls.ca), identity, tls.insecure_skip_verify))
}

/// An entry point's authentication, in the words of a frontend's.
pub fn of_entry(auth: &EntryAuth) -> Auth {
    let users = |users: &EntryUsers| UsersAuth {
        users: users.users.clone(),
        users_file: users.users_file.clone(),
        remove_header: users.remove_header,
    };
    Auth {
        basic: auth.basic.as_ref().map(users),
        digest: auth.digest.as_ref().map(users),
        forward: auth.forward.as_ref().map(|forward| crate::config::ForwardAuth {
            address: forward.address.clone(),
            tls: forward.has_tls.then(|| crate::config::ClientTls {
                ca: forward.ca.clone(),
                ca_optional: false,
                cert: forward.cert.clone(),
                key: forward.key.clone(),
                insecure_skip_verify: forward.insecure_skip_verify,
            }),
            trust_forward_header: forward.trust_forward_header,
            auth_response_headers: forward.auth_response_headers.clone(),
        }),
        header_field: auth.header_field.clone(),
    }
}

fn closed(reason: &str) -> Arc<dyn Handler> {
    Arc::new(Closed { reason: reason.to_owned() })
}
