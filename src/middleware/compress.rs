//! Makes bodies smaller on their way to clients that can read them so: gzip, brotli or zstd, whichever the client likes best
//! (RFC 9110, section 12.5.3).
//!
//! What would not gain by it stays as it is: small bodies, pictures and archives, parts of a whole. So does what must not
//! wait or change: event streams, gRPC, and whatever says `no-transform`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::middleware::{Flow, Handler, Keep, kept, vary};
use crate::model::{Encoding, Exchange, Follower, Response};

/// The step; it has no settings.
#[derive(Clone, Debug)]
pub struct Compress {
    under_way: Arc<UnderWay>,
}

/// Bodies that are being encoded, in the whole process.
#[derive(Debug, Default)]
struct UnderWay(AtomicUsize);

/// Further ones go as they are: each holds about a mebibyte, however slowly its client reads.
const BODIES_MAX: usize = 512;

/// A smaller body is sent as it is: it fits in one packet anyway (Traefik 1.7's number).
const BODY_BYTES_MIN: u64 = 1_400;

/// What we like best comes first: zstd costs the least time for about the same size.
const ENCODINGS: &[Encoding] = &[Encoding::Zstd, Encoding::Brotli, Encoding::Gzip];

/// A weight of `Accept-Encoding`, in thousandths.
type Weight = u16;

/// What a client says it can read.
#[derive(Debug, Default)]
struct Accepted {
    gzip: Option<Weight>,
    brotli: Option<Weight>,
    zstd: Option<Weight>,
    identity: Option<Weight>,
    any: Option<Weight>,
}

impl Accepted {
    /// Takes in the value of one line. What cannot be read is left out.
    fn add(&mut self, line: &[u8]) {
        for word in line.split(|byte| *byte == b',') {
            let mut parts = word.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let place = match name.to_ascii_lowercase().as_slice() {
                b"gzip" | b"x-gzip" => &mut self.gzip,
                b"br" => &mut self.brotli,
                b"zstd" => &mut self.zstd,
                b"identity" => &mut self.identity,
                b"*" => &mut self.any,
                _ => continue,
            };
            let weight = parts
                .find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
            *place = match weight {
                None => Some(1_000),
                Some(text) => weight_of(text).or(*place),
            };
        }
    }

    fn weight(&self, encoding: Encoding) -> Weight {
        let own = match encoding {
            Encoding::Gzip => self.gzip,
            Encoding::Brotli => self.brotli,
            Encoding::Zstd => self.zstd,
        };
        own.or(self.any).unwrap_or(0)
    }

    /// The encoding that the client likes best, where it does not like a plain body better.
    fn best(&self) -> Option<Encoding> {
        // The first of several that are equal.
        let best = ENCODINGS.iter().rev().max_by_key(|encoding| self.weight(**encoding))?;
        let weight = self.weight(*best);
        (weight > 0 && weight >= self.identity.unwrap_or(0)).then_some(*best)
    }
}

/// `0.8` is 800, `1` is 1000.
fn weight_of(text: &[u8]) -> Option<Weight> {
    let weight: f32 = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    // A number from 0 to 1,000 fits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (0.0..=1.0).contains(&weight).then_some((weight * 1_000.0).round() as Weight)
}

impl Compress {
    /// The step. All of them share one count.
    pub fn new(keep: &dyn Keep) -> Self {
        Self { under_way: kept(keep, "compressed bodies", UnderWay::default) }
    }
}

impl Handler for Compress {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        let mut accepted = Accepted::default();
        exchange.head.has_line("accept-encoding", &mut |line| {
            accepted.add(line);
            // All of them are looked at.
            false
        });
        let under_way = Arc::clone(&self.under_way);
        exchange.follow(OnResponse { encoding: accepted.best(), under_way, place: None });
        Flow::Continue
    }

    fn describe(&self) -> String {
        "compress answers".to_owned()
    }

    fn acts(&self, _: u64) -> Option<String> {
        let is_full = self.under_way.0.load(Ordering::Relaxed) >= BODIES_MAX;
        is_full.then(|| format!("{BODIES_MAX} bodies are on their way; others go as they are"))
    }
}

/// What becomes of the answer to one request.
struct OnResponse {
    encoding: Option<Encoding>,
    under_way: Arc<UnderWay>,
    place: Option<Place>,
}

/// A body that is being encoded, until it is dropped.
struct Place(Arc<UnderWay>);

impl Place {
    /// None where there are as many as may be.
    fn take(under_way: &Arc<UnderWay>) -> Option<Self> {
        // Dropped at once where it is one too many.
        let place = Self(Arc::clone(under_way));
        (under_way.0.fetch_add(1, Ordering::Relaxed) < BODIES_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Follower for OnResponse {
    fn on_response(&mut self, response: &mut Response<'_>) {
        // One that says that nothing has changed has the lines that the whole would have (RFC 9110, section 15.4.5).
        let is_unchanged = response.is_servers && response.status == 304;
        if !is_unchanged && !gains(response) {
            return;
        }
        vary(response, "Accept-Encoding");
        let Some(encoding) = self.encoding else { return };
        if is_unchanged {
            weaken(response);
            // How long it would be then is not known.
            response.remove_line("Content-Length");
            return;
        }
        self.place = Place::take(&self.under_way);
        if self.place.is_none() {
            return;
        }
        weaken(response);
        response.set_line("Content-Encoding", encoding.as_str());
        // Parts of what is made on the way are not to be had, and sums of the whole would be wrong.
        for name in ["Accept-Ranges", "Content-MD5", "Digest", "Content-Digest", "Repr-Digest"] {
            response.remove_line(name);
        }
        response.encode(encoding);
    }
}

/// Whether an answer may be encoded and would gain by it.
fn gains(response: &Response<'_>) -> bool {
    // 204, 205 and 304 have no body, 206 has a part of one.
    let has_body = response.status >= 200 && !matches!(response.status, 204..=206 | 304);
    let length = response
        .line("content-length")
        .and_then(|line| std::str::from_utf8(line).ok()?.trim().parse::<u64>().ok());
    response.is_servers
        && has_body
        && response.line("content-encoding").is_none()
        && response.line("content-range").is_none()
        && length.is_none_or(|length| length >= BODY_BYTES_MIN)
        && response.line("content-type").is_some_and(is_plain)
        && !response.has_line("cache-control", forbids)
}

/// Whether this is `no-transform` (RFC 9111, section 5.2.2.6).
fn forbids(cache_control: &[u8]) -> bool {
    let mut words = cache_control.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    words.any(|word| word.eq_ignore_ascii_case(b"no-transform"))
}

/// Whether what is of this type is neither small already, nor a stream that must not wait.
fn is_plain(content_type: &[u8]) -> bool {
    let kind = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    let kind = String::from_utf8_lossy(kind.trim_ascii()).to_ascii_lowercase();
    let Some((family, name)) = kind.split_once('/') else { return false };
    match family {
        "image" => ["svg+xml", "bmp", "x-ms-bmp", "x-icon", "vnd.microsoft.icon"].contains(&name),
        "audio" | "video" => false,
        "font" => !["woff", "woff2"].contains(&name),
        "multipart" => false,
        "text" => name != "event-stream",
        _ => !is_packed(name),
    }
}

/// Whether this is an application's format that is small already, or gRPC, which has an encoding of its own.
fn is_packed(name: &str) -> bool {
    const PACKED: &[&str] = &[
        "gzip",
        "x-gzip",
        "zip",
        "x-zip-compressed",
        "zlib",
        "zstd",
        "x-zstd",
        "x-bzip2",
        "x-xz",
        "x-lzma",
        "x-7z-compressed",
        "vnd.rar",
        "x-rar-compressed",
        "x-compress",
        "java-archive",
        "vnd.android.package-archive",
        "font-woff",
        "x-font-woff",
        "font-woff2",
        "x-shockwave-flash",
    ];
    PACKED.contains(&name)
        || name.starts_with("grpc")
        || name.starts_with("vnd.openxmlformats-officedocument.")
        || name.starts_with("vnd.oasis.opendocument.")
        || name.ends_with("+zip")
        || name.ends_with("+gzip")
}

/// An entity tag that holds for the plain body and the encoded one alike is a weak one (RFC 9110, section 8.8.1).
fn weaken(response: &mut Response<'_>) {
    let tag = response.line("etag").and_then(|tag| std::str::from_utf8(tag).ok());
    if let Some(tag) = tag.filter(|tag| !tag.starts_with("W/")) {
        let weak = format!("W/{tag}");
        response.set_line("ETag", weak);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::Lines;

    #[track_caller]
    fn check_accepted(lines: &[&str], expected: Option<Encoding>) {
        let mut accepted = Accepted::default();
        lines.iter().for_each(|line| accepted.add(line.as_bytes()));
        assert_eq!(accepted.best(), expected, "{lines:?}");
    }

    #[test]
    fn the_client_chooses() {
        use Encoding::{Brotli, Gzip, Zstd};
        check_accepted(&[], None);
        check_accepted(&[""], None);
        check_accepted(&["gzip"], Some(Gzip));
        check_accepted(&["X-GZip"], Some(Gzip));
        check_accepted(&["gzip, deflate, br"], Some(Brotli));
        check_accepted(&["gzip, deflate, br, zstd"], Some(Zstd));
        check_accepted(&["gzip;q=1.0, br;q=0.8, zstd; q=0.5"], Some(Gzip));
        check_accepted(&["gzip", "br"], Some(Brotli));
        check_accepted(&["*"], Some(Zstd));
        check_accepted(&["*, zstd;q=0"], Some(Brotli));
        check_accepted(&["*;q=0"], None);
        check_accepted(&["gzip;q=0"], None);
        check_accepted(&["gzip;q=0.001"], Some(Gzip));
        check_accepted(&["deflate, compress"], None);
        check_accepted(&["identity"], None);
        check_accepted(&["identity;q=0"], None);
        check_accepted(&["identity;q=0, *"], Some(Zstd));
        check_accepted(&["identity;q=0.5, gzip;q=0.5"], Some(Gzip));
        check_accepted(&["identity, gzip;q=0.5"], None);
        // What cannot be read says nothing.
        check_accepted(&["gzip;q=x"], None);
        check_accepted(&["gzip;q=2", "br;q=0.1"], Some(Brotli));
        check_accepted(&[",,;q=1,"], None);
    }

    fn follower(encoding: Option<Encoding>) -> OnResponse {
        OnResponse { encoding, under_way: Arc::default(), place: None }
    }

    /// A server's answer to a client that takes gzip: its encoding, and whether caches are told of it.
    #[track_caller]
    fn check(status: u16, lines: &[(&str, &str)], is_encoded: bool, varies: bool) {
        let head = Lines(lines);
        let mut response = Response::new(status, true, &head);
        follower(Some(Encoding::Gzip)).on_response(&mut response);
        assert_eq!(response.encoding.is_some(), is_encoded, "{status} {lines:?}");
        assert_eq!(response.line("content-encoding") == Some(b"gzip"), is_encoded, "{lines:?}");
        let tells = response.has_line("vary", |value| value == b"Accept-Encoding");
        assert_eq!(tells, varies, "{status} {lines:?}");
    }

    #[test]
    fn what_gains_is_encoded() {
        for kind in [
            "text/html; charset=utf-8",
            "application/json",
            "Application/JavaScript",
            "image/svg+xml",
            "font/ttf",
            "application/octet-stream",
            "application/wasm",
        ] {
            check(200, &[("content-type", kind)], true, true);
        }
        check(404, &[("content-type", "text/html"), ("content-length", "1400")], true, true);
    }

    #[test]
    fn what_does_not_stays_as_it_is() {
        for kind in [
            "text/event-stream",
            "text/event-stream;charset=utf-8",
            "image/png",
            "video/mp4",
            "audio/ogg",
            "font/woff2",
            "application/zip",
            "application/gzip",
            "application/epub+zip",
            "application/grpc",
            "application/grpc-web+proto",
            "multipart/byteranges; boundary=x",
            "nonsense",
        ] {
            check(200, &[("content-type", kind)], false, false);
        }
        check(200, &[], false, false);
        let with = |name, value| [("content-type", "text/html"), (name, value)];
        check(200, &with("content-length", "1399"), false, false);
        check(200, &with("content-encoding", "br"), false, false);
        check(200, &with("content-range", "bytes 0-1/2"), false, false);
        check(200, &with("cache-control", "public, No-Transform"), false, false);
        for status in [204, 205, 206] {
            check(status, &with("x-a", "b"), false, false);
        }
        check(304, &with("x-a", "b"), false, true);
    }

    #[test]
    fn what_is_said_of_the_body_still_holds() {
        let head = Lines(&[
            ("content-type", "text/html"),
            ("etag", "\"x\""),
            ("accept-ranges", "bytes"),
            ("content-md5", "x"),
            ("vary", "Origin"),
        ]);
        let mut response = Response::new(200, true, &head);
        follower(Some(Encoding::Brotli)).on_response(&mut response);
        assert_eq!(response.line("etag"), Some(&b"W/\"x\""[..]));
        assert_eq!((response.line("accept-ranges"), response.line("content-md5")), (None, None));
        assert!(response.has_line("vary", |value| value == b"Origin"));

        // A second step finds it encoded.
        let before = response.added.len();
        follower(Some(Encoding::Gzip)).on_response(&mut response);
        assert_eq!((response.encoding, response.added.len()), (Some(Encoding::Brotli), before));

        // Who takes no encoding gets the strong tag.
        let mut response = Response::new(200, true, &head);
        follower(None).on_response(&mut response);
        assert_eq!((response.encoding, response.line("etag")), (None, Some(&b"\"x\""[..])));
        assert!(response.has_line("vary", |value| value == b"Accept-Encoding"));
    }

    #[test]
    fn so_many_bodies_are_encoded_at_once() {
        let head = Lines(&[("content-type", "text/html")]);
        let under_way = Arc::<UnderWay>::default();
        let step = Compress { under_way: Arc::clone(&under_way) };
        let encoded = || {
            let request = Lines(&[("accept-encoding", "gzip")]);
            let mut exchange = Exchange::new("http", "GET", "a.test", "/", &request);
            step.on_request(&mut exchange);
            let mut response = Response::new(200, true, &head);
            let mut changes = exchange.take_changes().expect("a follower");
            changes.followers[0].on_response(&mut response);
            (response.encoding.is_some(), changes)
        };
        let many: Vec<_> = (0..BODIES_MAX).map(|_| encoded()).collect();
        assert!(many.iter().all(|(is_encoded, _)| *is_encoded) && step.acts(0).is_some());
        assert!(!encoded().0, "one too many");
        drop(many);
        assert!(encoded().0 && step.acts(0).is_none());
        assert_eq!(under_way.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn our_own_answers_are_small() {
        let mut response = Response::new(503, false, &Lines(&[("content-type", "text/plain")]));
        follower(Some(Encoding::Gzip)).on_response(&mut response);
        assert_eq!((response.encoding, response.added.len()), (None, 0));
    }
}
