//! What a header line is to a proxy: by its name, read once for each line.

use super::lines::Passing;
use super::parse::Line;
use crate::model::as_variable;

/// What has to be done about a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Field {
    /// It passes as it is.
    Plain,
    /// `Host`.
    Host,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Connection`.
    Connection,
    /// `TE`.
    Te,
    /// `Upgrade`.
    Upgrade,
    /// `Expect`.
    Expect,
    /// `Date`.
    Date,
    /// `Max-Forwards`.
    MaxForwards,
    /// Ends at each hop, without a meaning to us (RFC 9110, section 7.6.1).
    Hop,
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// Tells a server who the client is. Only a trusted client may say it itself.
    Identity(Identity),
    /// Servers that hand headers on as variables (CGI, WSGI) take it for one that frames the body.
    Disguise,
}

/// What is told about a client, besides the way it came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Identity {
    Host,
    Port,
    Proto,
    Server,
    RealIp,
    /// `Forwarded`, `X-Replaced-Path`, and of `X-Forwarded-…` what tells of its path, its method, its protocol by other names, and
    /// of its certificate: nothing is added where they are missing.
    Other,
}

/// What a line of this name is. In what tells who the client is, or frames the body, whatever is no letter and no digit
/// counts as a hyphen: CGI and WSGI servers take an underscore for one, some gateways any other byte, and nobody else
/// needs such a name. Of what frames the body it is the letters that count: some compare with less than the whole name.
pub(super) fn classify(name: &[u8]) -> Field {
    let Some(&first) = name.first() else { return Field::Plain };
    // Length and first letter decide: hardly any line is compared with a name that it is not.
    match (name.len(), first | 0x20) {
        (2, b't') if is(name, b"te") => Field::Te,
        (4, b'h') if is(name, b"host") => Field::Host,
        (4, b'd') if is(name, b"date") => Field::Date,
        // No header at all, but CGI servers make `HTTP_PROXY` of it, and what they call believes that (CVE-2016-5385).
        (5, b'p') if is(name, b"proxy") => Field::Hop,
        (6, b'e') if is(name, b"expect") => Field::Expect,
        (7, b'u') if is(name, b"upgrade") => Field::Upgrade,
        (9, b'f') if is(name, b"forwarded") => OTHER,
        (10, b'c') if is(name, b"connection") => Field::Connection,
        (10, b'k') if is(name, b"keep-alive") => Field::Hop,
        (12, b'm') if is(name, b"max-forwards") => Field::MaxForwards,
        (14, b'c') if is(name, b"content-length") => Field::ContentLength,
        (14, b'c') if is_folded(name, b"content-length") => Field::Disguise,
        (14, b'h') if is(name, b"http2-settings") => Field::Hop,
        (16, b'p') if is(name, b"proxy-connection") => Field::Hop,
        (17, b't') if is(name, b"transfer-encoding") => Field::TransferEncoding,
        (17, b't') if is_folded(name, b"transfer-encoding") => Field::Disguise,
        (18, b'p') if is(name, b"proxy-authenticate") => Field::Hop,
        (19, b'p') if is(name, b"proxy-authorization") => Field::Hop,
        (9 | 15..=33, b'x') => of_client(name),
        (13 | 15..=16 | 18..=19, b'c' | b't') => spelled(name),
        _ => Field::Plain,
    }
}

/// What a name is whose letters, without what stands between and behind them, may be those of a line that frames the body.
#[cold]
#[inline(never)]
fn spelled(name: &[u8]) -> Field {
    let letters = name.iter().filter(|byte| byte.is_ascii_alphabetic());
    let letters = letters.map(u8::to_ascii_lowercase);
    let mut names = [&b"contentlength"[..], b"transferencoding"].into_iter();
    match names.any(|plain| letters.clone().eq(plain.iter().copied())) {
        true => Field::Disguise,
        false => Field::Plain,
    }
}

/// Whether a name is none that anybody means to speak by: it holds something else than letters, digits and hyphens.
pub(super) fn is_odd(name: &[u8]) -> bool {
    name.iter().any(|&byte| !byte.is_ascii_alphanumeric() && byte != b'-')
}

/// The same for what begins with an `x`, as hardly any line does.
#[inline(never)]
fn of_client(name: &[u8]) -> Field {
    match name.len() {
        9 if is_folded(name, b"x-real-ip") => Field::Identity(Identity::RealIp),
        15 if is_folded(name, b"x-forwarded-for") => Field::ForwardedFor,
        15 if is_any(name, [b"x-forwarded-uri", b"x-forwarded-ssl"]) => OTHER,
        15 if is_folded(name, b"x-replaced-path") => OTHER,
        16 if is_folded(name, b"x-forwarded-host") => Field::Identity(Identity::Host),
        16 if is_folded(name, b"x-forwarded-port") => Field::Identity(Identity::Port),
        17 if is_folded(name, b"x-forwarded-proto") => Field::Identity(Identity::Proto),
        18 if is_folded(name, b"x-forwarded-server") => Field::Identity(Identity::Server),
        18 if is_any(name, [b"x-forwarded-prefix", b"x-forwarded-method"]) => OTHER,
        18 if is_folded(name, b"x-forwarded-scheme") => OTHER,
        20 if is_folded(name, b"x-forwarded-protocol") => OTHER,
        27 if is_folded(name, b"x-forwarded-tls-client-cert") => OTHER,
        33 if is_folded(name, b"x-forwarded-tls-client-cert-infos") => OTHER,
        _ => Field::Plain,
    }
}

/// What is told about a client, and nothing is added where it is missing.
const OTHER: Field = Field::Identity(Identity::Other);

/// Whether a name is one of these, as [`is_folded`] compares.
fn is_any<const N: usize>(name: &[u8], plain: [&[u8; N]; 2]) -> bool {
    plain.into_iter().any(|plain| is_folded(name, plain))
}

/// Whether a name is this one (in lower case), all its bytes compared at once. Setting the bit that tells lower case
/// from upper turns no other byte of a name into a letter, a digit or a hyphen.
fn is<const N: usize>(name: &[u8], plain: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else { return false };
    let different =
        name.iter().zip(plain).fold(0, |all, (byte, plain)| all | (byte | 0x20) ^ plain);
    different == 0
}

/// The same, whatever is no letter and no digit taken for a hyphen.
fn is_folded<const N: usize>(name: &[u8], plain: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else { return false };
    let bytes = name.iter().zip(plain);
    let different = bytes.fold(0, |all, (&byte, plain)| all | as_variable(byte) ^ plain);
    different == 0
}

/// What `Connection` says (RFC 9110, section 7.6.1).
#[derive(Debug, Default)]
pub(super) struct Options<'h> {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// Lines that it takes away besides those that always go.
    named: Vec<&'h [u8]>,
}

/// Names in `Connection` that a head may have: each is compared with each line.
const NAMED_MAX: usize = 100;

/// What `Connection` may not take away: it would change what the message is, where it goes, or whose it is.
const KEPT: [&[u8]; 4] = [b"host", b"cookie", b"authorization", b"set-cookie"];

impl<'h> Options<'h> {
    /// Reads one line more. False: it names more than anybody needs.
    #[must_use]
    pub(super) fn read(&mut self, value: &'h [u8]) -> bool {
        // What nearly all of them say.
        if is(value, b"keep-alive") {
            self.keep_alive = true;
            return true;
        }
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            let is = |other: &[u8]| option.eq_ignore_ascii_case(other);
            match option.len() {
                0 => {}
                5 if is(b"close") => self.close = true,
                7 if is(b"upgrade") => self.upgrade = true,
                10 if is(b"keep-alive") => self.keep_alive = true,
                _ if classify(option) != Field::Plain || KEPT.iter().any(|kept| is(kept)) => {}
                _ => self.named.push(option),
            }
        }
        self.named.len() <= NAMED_MAX
    }

    /// Whether it takes lines away. Which stand behind a body it may name as well (RFC 9110, section 7.6.1).
    pub(super) fn takes_away(&self) -> bool {
        !self.named.is_empty()
    }

    /// Has the lines that it names pass no further.
    pub(super) fn take_away(&self, lines: &[Line<'_>], passing: &mut Passing) {
        if self.named.is_empty() {
            return;
        }
        for (index, line) in lines.iter().enumerate() {
            if self.names(line.name()) {
                passing.remove(index);
            }
        }
    }

    fn names(&self, name: &[u8]) -> bool {
        self.named.iter().any(|named| named.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LineOwner;

    #[test]
    fn names_are_known_without_case() {
        assert_eq!(classify(b"HOST"), Field::Host);
        assert_eq!(classify(b"Transfer-Encoding"), Field::TransferEncoding);
        assert_eq!(classify(b"Transfer_Encoding"), Field::Disguise);
        assert_eq!(classify(b"Content_Length"), Field::Disguise);
        assert_eq!(classify(b"X_Forwarded-For"), Field::ForwardedFor);
        assert_eq!(classify(b"X-Real_IP"), Field::Identity(Identity::RealIp));
        assert_eq!(classify(b"X.Forwarded~For"), Field::ForwardedFor);
        assert_eq!(classify(b"Content.Length"), Field::Disguise);
        for name in
            ["TransferEncoding", "Transfer--Encoding", "transfer-encoding1", "Transfer-Encoding--"]
        {
            assert_eq!(classify(name.as_bytes()), Field::Disguise, "{name}");
        }
        for name in ["ContentLength", "Content--Length", "content-length-", "Content-Length-2"] {
            assert_eq!(classify(name.as_bytes()), Field::Disguise, "{name}");
        }
        for name in ["Cache-Control", "Transfer-Encodings", "Content-Lengths", "Content-Location"] {
            assert_eq!(classify(name.as_bytes()), Field::Plain, "{name}");
        }
        assert_eq!(classify(b"X-Request-Id"), Field::Plain);
        for name in [
            "Uri",
            "Ssl",
            "Prefix",
            "Method",
            "Scheme",
            "Protocol",
            "Tls-Client-Cert",
            "Tls_Client_Cert_Infos",
        ] {
            assert_eq!(classify(format!("X-Forwarded-{name}").as_bytes()), OTHER, "{name}");
        }
        assert_eq!(classify(b"X_Replaced-Path"), OTHER);
        assert_eq!(classify(b"Ho_t"), Field::Plain);
    }

    /// What belongs to somebody is no plain line here either, but for three: `Trailer` announces what passes behind answers, and what other proxies
    /// call the client's address is between them and the servers.
    #[test]
    fn lines_that_belong_to_somebody_are_known() {
        for (name, owner) in LineOwner::LINES {
            let is_plain = matches!(name, "trailer" | "true-client-ip" | "x-client-ip");
            let field = classify(name.as_bytes());
            let is_identity = matches!(field, Field::Identity(_) | Field::ForwardedFor);
            assert_eq!(field == Field::Plain, is_plain, "{name}");
            assert!(is_plain || is_identity == (owner == LineOwner::Identity), "{name}");
        }
    }

    #[test]
    fn every_other_byte_makes_another_name() {
        for name in [&b"host"[..], b"te", b"content-length", b"x-real-ip", b"http2-settings"] {
            for (at, byte) in
                name.iter().enumerate().flat_map(|(at, _)| (0..=255).map(move |b| (at, b)))
            {
                let mut other = name.to_vec();
                other[at] = byte;
                // Controls stand in no name: the parser sees to that.
                if byte.is_ascii_control() || byte.eq_ignore_ascii_case(&name[at]) {
                    continue;
                }
                let is_other = classify(&other) != classify(name);
                let is_disguise = !byte.is_ascii_alphanumeric() && name[at] == b'-';
                assert!(is_other || is_disguise, "{:?}", String::from_utf8_lossy(&other));
            }
        }
    }

    #[test]
    fn connection_takes_away_what_it_names_and_nothing_that_matters() {
        let mut options = Options::default();
        assert!(options.read(b"Close, X-Secret ,,Host, Cookie, X-Forwarded-For"));
        assert!(options.close && !options.keep_alive);
        assert!(options.names(b"x-secret"));
        for kept in [&b"Host"[..], b"Cookie", b"X-Forwarded-For", b"Content-Length"] {
            assert!(!options.names(kept));
        }
        assert!(!Options::default().read(&b"a,".repeat(101)));
    }
}
