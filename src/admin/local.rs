//! Where the admin side listens on this machine alone and asks nobody for a name, it is asked by no other name than this machine's own:
//! a page of a stranger could have its own name lead here, and read what it is answered (DNS rebinding).

use std::net::{IpAddr, Ipv6Addr};

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// Who asks by another name learns what to do.
const WHY: &str = "This admin side listens on this machine only: ask it at http://localhost or http://127.0.0.1, with its port. \
                   To have it asked by another name give it users (--admin.users).\n";

/// Lets a request through that asks for this machine, or for `/ping`.
pub(super) async fn pass(request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter().map(HeaderValue::to_str);
    // One that is no text is no name of this machine's.
    let is_here_or_none = hosts.all(|host| host.is_ok_and(is_here));
    let in_target = request.uri().host();
    if request.uri().path() == "/ping" || is_here_or_none && in_target.is_none_or(is_here) {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, WHY).into_response()
}

/// Whether this host, with or without a port, is this machine for sure. One that is empty is nobody's.
fn is_here(host: &str) -> bool {
    if let Some((ip, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return ip.parse::<Ipv6Addr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    }
    let name = host.split(':').next().unwrap_or_default();
    if let Ok(ip) = name.parse::<IpAddr>() {
        return ip.is_loopback();
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name.is_empty() || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_few_names() {
        for host in [
            "localhost",
            "LocalHost:8000",
            "localhost.:8000",
            "herder.localhost",
            "127.0.0.1:8000",
            "127.1.2.3",
            "[::1]:8000",
            "[::ffff:127.0.0.1]",
            "",
        ] {
            assert!(is_here(host), "{host}");
        }
        for host in [
            "evil.test",
            "localhost.evil.test",
            "evillocalhost",
            "127.0.0.1.evil.test:8000",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "[2001:db8::1]:80",
            "evil.test:127.0.0.1",
        ] {
            assert!(!is_here(host), "{host}");
        }
    }
}
