//! One request, from its head to the end of its answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::header::{CONTENT_LENGTH, HOST, SET_COOKIE, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use super::answer::answer;
use super::body::{Body, ClientBody, Guard, InTurn};
use super::client_io::Turn;
use super::error::Error;
use super::forwarded::{self, Hop};
use super::framing;
use super::target::{Lines, Target, target};
use super::upgrade;
use super::upstream::Failure;
use super::worker::{Client, Worker};
use crate::balance::{Moment, sticky};
use crate::model::Exchange;
use crate::settings::HTTP_ENTRYPOINT;
use crate::table::{Route, RunningServer, Tried};

/// Answers one request. Every failure becomes an answer, and every answer is counted.
pub(super) async fn serve(
    worker: Arc<Worker>,
    client: Arc<Client>,
    request: Request<Incoming>,
) -> Result<Response<InTurn>, Infallible> {
    let turn = client.pace.begin_turn();
    let response = match target(&request) {
        Ok(target) => route(&worker, &client, &turn, request, target).await,
        Err(error) => answer(&error),
    };
    worker.state.live.totals.answered(response.status().as_u16());
    Ok(response.map(|body| InTurn { body, _turn: turn }))
}

/// Finds the route, and has its answer counted.
async fn route(
    worker: &Arc<Worker>,
    client: &Arc<Client>,
    turn: &Arc<Turn>,
    request: Request<Incoming>,
    target: Target,
) -> Response<Body> {
    let table = worker.table();
    let (Parts { method, version, headers, extensions, .. }, body) = request.into_parts();
    let lines = Lines(&headers);
    let path = target.path_and_query.path();
    let mut exchange = Exchange::new(HTTP_ENTRYPOINT, &target.host, path, &lines);
    let Some(route) = table.lookup(&exchange) else {
        return answer(&Error::Unknown);
    };
    for step in &route.chain {
        match step.handler().on_request(&mut exchange) {
            crate::middleware::Flow::Continue => {}
        }
    }
    let forward = Forward { worker, client, turn, route, target: &target };
    let head = (&method, version, &headers, extensions);
    let response = match forward.send(&exchange, head, body).await {
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(frontend = %route.id, %error, "request failed");
            answer(&error)
        }
    };
    route.live.answered(response.status().as_u16());
    response
}

/// A request whose route is known.
struct Forward<'a> {
    worker: &'a Arc<Worker>,
    client: &'a Arc<Client>,
    turn: &'a Arc<Turn>,
    route: &'a Route,
    target: &'a Target,
}

type RequestHead<'a> = (&'a Method, Version, &'a HeaderMap, http::Extensions);

impl Forward<'_> {
    /// Picks servers until one answers.
    async fn send(
        &self,
        exchange: &Exchange<'_>,
        (method, version, headers, mut extensions): RequestHead<'_>,
        body: Incoming,
    ) -> Result<Response<Body>, Error> {
        let limits = &self.worker.state.settings.limits;
        let protocol = forwarded::upgrade(headers).filter(|_| version == Version::HTTP_11);
        let client_upgrade = protocol.is_some().then(|| extensions.remove()).flatten();
        let may_repeat = is_repeatable(method) && body.is_end_stream();
        let progress = Arc::new(AtomicU64::new(0));
        let body = match body.is_end_stream() {
            true => ClientBody::empty(),
            false => {
                let (progress, turn) = (Arc::clone(&progress), Arc::clone(self.turn));
                ClientBody::new(body, limits.body_timeout, progress, turn)
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = self.uri(exchange)?;
        *request.headers_mut() = self.headers(exchange, headers, protocol.as_ref());
        if !request.body().is_end_stream() && !headers.contains_key(CONTENT_LENGTH) {
            // Without this, hyper drops the chunked body of a GET.
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }

        let mut tried = Tried::default();
        let mut last = Error::NoServer;
        for _ in 0..limits.attempts_max.max(1) {
            let moment = Moment { now_ms: self.worker.clock.now_ms(), random: fastrand::u64(..) };
            let Some(server) = self.route.backend.pick(exchange, moment, &mut tried) else { break };
            self.address(&mut request, server);
            let guard = Guard::begin(&server.live);
            let place = (server.scheme, server.addr);
            match self.worker.upstreams.send(place, request, may_repeat, &progress).await {
                Ok(response) => {
                    let cookie = self.cookie(exchange, server);
                    return Ok(self.answered(response, guard, client_upgrade, cookie));
                }
                Err(Failure { error, unsent, is_refusal }) => {
                    let mut guard = guard;
                    if error.is_servers() {
                        guard.fail();
                    }
                    if is_refusal {
                        server.live.refused(self.worker.clock.now_ms());
                    }
                    match unsent {
                        Some(back) => (request, last) = (back, error),
                        None => return Err(error),
                    }
                }
            }
        }
        Err(last)
    }

    /// The path after the chain, with the client's query.
    fn uri(&self, exchange: &Exchange<'_>) -> Result<Uri, Error> {
        let target = &self.target.path_and_query;
        if *exchange.path == *target.path() {
            return Ok(Uri::from(target.clone()));
        }
        let text = match target.query() {
            Some(query) => format!("{}?{query}", exchange.path),
            None => exchange.path.to_string(),
        };
        let path = PathAndQuery::try_from(text);
        path.map(Uri::from).map_err(|_| Error::BadRequest("the path cannot be rewritten"))
    }

    fn headers(
        &self,
        exchange: &Exchange<'_>,
        headers: &HeaderMap,
        protocol: Option<&HeaderValue>,
    ) -> HeaderMap {
        let mut headers = headers.clone();
        let hop = Hop {
            client: self.client.addr,
            host: &self.target.host,
            stripped_prefix: exchange.stripped_prefix.as_deref(),
            upgrade: protocol,
        };
        self.worker.forwarder.to_server(&mut headers, &hop);
        headers
    }

    /// The server sees the client's host, or its own address where it wants that, or there is none.
    fn address(&self, request: &mut Request<ClientBody>, server: &RunningServer) {
        let keeps_host = self.route.pass_host_header && !self.target.host.is_empty();
        let host = match keeps_host {
            true => HeaderValue::from_str(&self.target.host),
            false => HeaderValue::from_str(&server.addr.to_string()),
        };
        // Both were checked: the host by `target`, and an address is plain text.
        if let Ok(host) = host {
            request.headers_mut().insert(HOST, host);
        }
    }

    /// The cookie that brings the client back to this server, where it does not have it already.
    fn cookie(&self, exchange: &Exchange<'_>, server: &RunningServer) -> Option<HeaderValue> {
        let sticky = self.route.backend.sticky()?;
        let has =
            exchange.head.header("cookie").and_then(|line| sticky::find(line, &sticky.cookie));
        if has == Some(&server.cookie_value) {
            return None;
        }
        HeaderValue::from_str(&sticky::set_cookie(&sticky.cookie, &server.cookie_value)).ok()
    }

    /// Turns a server's answer into the client's.
    fn answered(
        &self,
        mut response: Response<Incoming>,
        mut guard: Guard,
        client_upgrade: Option<hyper::upgrade::OnUpgrade>,
        cookie: Option<HeaderValue>,
    ) -> Response<Body> {
        if response.status().is_server_error() {
            guard.fail();
        }
        let protocol = forwarded::upgrade(response.headers());
        let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let server_upgrade = switching.then(|| hyper::upgrade::on(&mut response));
        let (mut parts, body) = response.into_parts();
        if let Err(error) = framing::check_answer(parts.status, &mut parts.headers) {
            guard.fail();
            return answer(&error);
        }
        forwarded::remove_hop_by_hop(&mut parts.headers);
        parts.version = Version::HTTP_11;
        if let Some(cookie) = cookie {
            parts.headers.append(SET_COOKIE, cookie);
        }
        let body = match (server_upgrade, client_upgrade, protocol) {
            (Some(server), Some(client), Some(protocol)) => {
                parts.headers.insert(http::header::UPGRADE, protocol);
                let connection = HeaderValue::from_static("upgrade");
                parts.headers.insert(http::header::CONNECTION, connection);
                let open = Arc::clone(self.client);
                self.worker.tasks.spawn(upgrade::join(client, server, guard, open));
                Body::empty()
            }
            // A server that changes the protocol unasked.
            (Some(_), ..) => {
                guard.fail();
                return answer(&Error::BadAnswer("it changed the protocol unasked".to_owned()));
            }
            (None, ..) => Body::server(body, self.worker.state.settings.limits.body_timeout, guard),
        };
        Response::from_parts(parts, body)
    }
}

/// Methods that may be sent again (RFC 9110, section 9.2.2).
fn is_repeatable(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::TRACE]
        .contains(method)
}
