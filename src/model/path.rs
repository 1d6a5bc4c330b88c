//! Paths as they are sent, and as rules compare them: one place has many spellings, and none of them may lead around a
//! guarded frontend.
//!
//! `/x/../admin` and `/%2e/admin` are resolved (RFC 3986, sections 5.2.4 and 6.2.2), for the rules and for the server alike:
//! clients do the same before they ask, and it leaves a server nothing to read in another way. `%61` is read as `a`, and
//! `//` as `/`, for the rules alone: to some servers `//` is another place than `/`, so they get what was sent, save at the
//! beginning, where others take what follows for a host.

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::{percent_decode, percent_decode_str};

/// A path without `.` and `..`, and as rules compare it where that is spelled in another way.
pub(super) fn spellings(sent: Cow<'_, str>) -> (Cow<'_, str>, Option<String>) {
    if is_plain(&sent) {
        return (sent, None);
    }
    let mut sent = sent;
    loop {
        if let Some(path) = resolved(&sent) {
            sent = Cow::Owned(path);
        }
        // Behind two slashes, or a backslash that is taken for one, some servers look for a host (RFC 3986, section 4.2). Without
        // them there may be more dots.
        match sent.trim_start_matches(['/', '\\']) {
            rest if sent.len() - rest.len() > 1 => sent = Cow::Owned(format!("/{rest}")),
            _ => break,
        }
    }
    let decoded = percent_decode_str(&sent).decode_utf8_lossy();
    let merged = match with_single_slashes(&decoded) {
        Cow::Owned(merged) => Some(merged),
        Cow::Borrowed(_) => None,
    };
    let plain = merged.or(match decoded {
        Cow::Owned(decoded) => Some(decoded),
        Cow::Borrowed(_) => None,
    });
    (sent, plain)
}

/// Whether nothing in it can be spelled in another way, by one look.
fn is_plain(path: &str) -> bool {
    // Paths are short: all bytes at once, without an early end.
    let bytes = path.as_bytes();
    let has_escape = bytes.iter().fold(false, |has, &byte| has | (byte == b'%') | (byte == b'\\'));
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    let has_pair = pairs.fold(false, |has, (&first, &second)| {
        has | ((first == b'/') & ((second == b'/') | (second == b'.')))
    });
    !has_escape & !has_pair
}

/// Runs of slashes as one.
pub fn with_single_slashes(path: &str) -> Cow<'_, str> {
    if !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut single = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !single.ends_with('/') {
            single.push(letter);
        }
    }
    Cow::Owned(single)
}

/// What a part of a path means that consists of dots.
enum Dots {
    /// `.`
    Here,
    /// `..`
    Above,
}

/// Whether a part is a dot segment, each dot as itself or as `%2e`.
fn dots(part: &str) -> Option<Dots> {
    let (mut rest, mut count) = (part, 0);
    while !rest.is_empty() && count < 3 {
        let dot = [".", "%2e", "%2E"].into_iter().find_map(|dot| rest.strip_prefix(dot));
        (rest, count) = (dot?, count + 1);
    }
    match count {
        1 => Some(Dots::Here),
        2 => Some(Dots::Above),
        _ => None,
    }
}

/// The path without its dot segments, where it has any. Above the root is the root.
fn resolved(path: &str) -> Option<String> {
    let parts = || path.strip_prefix('/').map(|rest| rest.split('/'));
    parts()?.find_map(dots)?;
    let (mut resolved, mut ends_open) = (String::with_capacity(path.len()), false);
    for part in parts()? {
        ends_open = match dots(part) {
            None => {
                resolved.push('/');
                resolved.push_str(part);
                false
            }
            Some(Dots::Here) => true,
            Some(Dots::Above) => {
                resolved.truncate(resolved.rfind('/').unwrap_or_default());
                true
            }
        };
    }
    if ends_open || resolved.is_empty() {
        resolved.push('/');
    }
    Some(resolved)
}

/// A path with its query as somebody wrote it, as it can stand in a request's first line (RFC 9112, section 3.2.1): absolute, and
/// what cannot stand there written as `%20`.
pub fn origin_form(written: &str) -> String {
    let mut target = String::with_capacity(written.len() + 1);
    if !written.starts_with('/') {
        target.push('/');
    }
    for byte in written.bytes().take_while(|byte| *byte != b'#') {
        match byte {
            b'!'..=b'~' => target.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => _ = write!(target, "%{byte:02X}"),
        }
    }
    target
}

/// Whether it has dot segments.
pub fn has_dot_segments(path: &str) -> bool {
    path.split('/').any(|part| dots(part).is_some())
}

/// A path as rules compare it.
pub fn plain(path: &str) -> Cow<'_, str> {
    let (sent, plain) = spellings(Cow::Borrowed(path));
    plain.map_or(sent, Cow::Owned)
}

/// Whether it has `..` or `.` where some servers see a dot segment and others a name: beside an encoded slash or a backslash
/// (`/a%2f..%2fb`), or with a parameter (`/..;/`, which Tomcat takes for `/../`). No rule can tell what that means.
pub fn has_doubtful_dots(path: &str) -> bool {
    let is_doubtful = |part: &str| {
        let mut rest = Some(part);
        while let Some(text) = rest {
            let (piece, after) = cut(text, &["\\", "%2f", "%2F", "%5c", "%5C"]);
            let (name, _) = cut(piece, &[";", "%3b", "%3B"]);
            if name.len() < part.len() && dots(name).is_some() {
                return true;
            }
            rest = after;
        }
        false
    };
    let has_dot = path.contains('.') || path.contains("%2e") || path.contains("%2E");
    has_dot && path.contains(['%', '\\', ';']) && path.split('/').any(is_doubtful)
}

/// What stands before the first of these marks, and what behind it.
fn cut<'t>(text: &'t str, marks: &[&str]) -> (&'t str, Option<&'t str>) {
    for (start, _) in text.match_indices(['%', '\\', ';']) {
        let (before, rest) = text.split_at(start);
        if let Some(after) = marks.iter().find_map(|mark| rest.strip_prefix(mark)) {
            return (before, Some(after));
        }
    }
    (text, None)
}

/// How many bytes of this path, as sent, stand for this many of its plain ones.
pub(super) fn sent_len(path: &str, plain_len: usize) -> usize {
    let bytes = path.as_bytes();
    let (mut decoded, mut ends, mut end) = (Vec::with_capacity(bytes.len()), vec![0], 0);
    while let Some(&byte) = bytes.get(end) {
        let escape = bytes.get(end + 1..end + 3).filter(|_| byte == b'%');
        let escape = escape.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        end += if escape.is_some() { 3 } else { 1 };
        let byte = match escape {
            Some(digits) => percent_decode(&[b'%', digits[0], digits[1]]).next().unwrap_or(byte),
            None => byte,
        };
        // The first slash of a run stands for all of them.
        if byte != b'/' || decoded.last() != Some(&b'/') {
            decoded.push(byte);
            ends.push(end);
        }
    }
    let (mut plain, mut at) = (0, 0);
    for chunk in decoded.utf8_chunks() {
        let valid = chunk.valid().len();
        if plain + valid >= plain_len {
            return ends[at + plain_len - plain];
        }
        (plain, at) = (plain + valid, at + valid + chunk.invalid().len());
        if !chunk.invalid().is_empty() {
            plain += char::REPLACEMENT_CHARACTER.len_utf8();
        }
    }
    path.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_somebody_wrote_stands_in_one_first_line() {
        for (written, sent) in [
            ("", "/"),
            ("ok", "/ok"),
            ("/{status}.html?a=b", "/{status}.html?a=b"),
            ("/my page?é#top", "/my%20page?%C3%A9"),
            (
                "/x HTTP/1.1\r\nHost: a\r\n\r\nGET /",
                "/x%20HTTP/1.1%0D%0AHost:%20a%0D%0A%0D%0AGET%20/",
            ),
        ] {
            assert_eq!(origin_form(written), sent);
        }
    }

    #[track_caller]
    fn check(path: &str, sent: &str, plain: &str) {
        let (own_sent, own_plain) = spellings(Cow::Borrowed(path));
        let own_plain = own_plain.as_deref().unwrap_or(&own_sent);
        assert_eq!((&*own_sent, own_plain), (sent, plain), "{path}");
    }

    #[test]
    fn dots_are_resolved_for_all() {
        check("/a/b", "/a/b", "/a/b");
        check("/./admin", "/admin", "/admin");
        check("/x/../admin", "/admin", "/admin");
        check("/x/%2e%2E/admin", "/admin", "/admin");
        check("/x/.%2e/./admin/.", "/admin/", "/admin/");
        check("/../../admin", "/admin", "/admin");
        check("/a/b/..", "/a/", "/a/");
        check("/..", "/", "/");
        check("/.", "/", "/");
        check("/a//../b", "/a/b", "/a/b");
        check("/.well-known/a..b/...", "/.well-known/a..b/...", "/.well-known/a..b/...");
        check("*", "*", "*");
        check("", "", "");
        check("..", "..", "..");
    }

    #[test]
    fn escapes_and_doubled_slashes_are_read_for_rules_alone() {
        check("/%61dmin", "/%61dmin", "/admin");
        check("//admin", "/admin", "/admin");
        check("/\\admin\\x", "/admin\\x", "/admin\\x");
        check("/\\../admin", "/admin", "/admin");
        check("/a///b//", "/a///b//", "/a/b/");
        check("/%2fadmin", "/%2fadmin", "/admin");
        check("//x/../%61", "/%61", "/a");
        check("/a%2fb", "/a%2fb", "/a/b");
        check("/a%zz", "/a%zz", "/a%zz");
        // It is a name whose server sees `%2e`.
        check("/%252e%252e/a", "/%252e%252e/a", "/%2e%2e/a");
    }

    #[test]
    fn dots_that_nobody_can_read_for_sure_are_told() {
        for path in [
            "/a%2f..%2fb",
            "/a%2F%2e%2e",
            "/..%2fadmin",
            "/a/..%5cb",
            "/a\\..\\b",
            "/.%2fa",
            "/..;/admin",
            "/a/..;x=1/b",
            "/%2e%2e%3b/b",
        ] {
            assert!(has_doubtful_dots(path), "{path}");
        }
        for path in [
            "/a/../b",
            "/%2e%2e/b",
            "/a%2fb.c",
            "/a;b=..",
            "/a..%2fb",
            "/v1.2;x",
            "/a%20b/..",
            "/...%2f",
            "/",
        ] {
            assert!(!has_doubtful_dots(path), "{path}");
        }
    }

    /// Paths of the pieces that matter.
    fn path() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "/", "/", "//", ".", "..", "%2e", "%2E", "%2f", "%2F", "\\", "%5c", "%5C", "a",
            "admin", "é", "%C3%A9", "%C3", "%ff", "%", "%2", "%25", ";", "%3b", "%3B=", "%61",
            "%00",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    /// The same with a list of the pieces.
    fn has_doubtful_dots_by_lists(path: &str) -> bool {
        let is_doubtful = |part: &str| {
            let mut pieces =
                ["%2f", "%2F", "%5c", "%5C"].iter().fold(vec![part], |pieces, slash| {
                    pieces.into_iter().flat_map(|piece| piece.split(slash)).collect()
                });
            pieces = pieces.into_iter().flat_map(|piece| piece.split('\\')).collect();
            pieces.into_iter().any(|piece| {
                let name = [";", "%3b", "%3B"]
                    .iter()
                    .fold(piece, |name, mark| name.split_once(mark).map_or(name, |(name, _)| name));
                name.len() < part.len() && dots(name).is_some()
            })
        };
        let has_dot = path.contains('.') || path.contains("%2e") || path.contains("%2E");
        has_dot && path.contains(['%', '\\', ';']) && path.split('/').any(is_doubtful)
    }

    proptest! {
        #[test]
        fn doubtful_dots_are_those_that_lists_find(path in path()) {
            prop_assert_eq!(has_doubtful_dots(&path), has_doubtful_dots_by_lists(&path));
        }

        /// The obvious reading of a path: part by part, with a list of the parts so far.
        #[test]
        fn a_path_is_resolved_as_the_obvious_way_does(path in path()) {
            let parts: Vec<&str> = path.split('/').skip(1).collect();
            let (mut kept, last) = (Vec::new(), parts.len() - 1);
            for (place, part) in parts.iter().enumerate() {
                let read = part.replace("%2e", ".").replace("%2E", ".");
                match read.as_str() {
                    "." => {}
                    ".." => drop(kept.pop()),
                    _ => kept.push(*part),
                }
                if place == last && matches!(read.as_str(), "." | "..") {
                    kept.push("");
                }
            }
            let (sent, _) = spellings(Cow::Borrowed(&path));
            let kept = kept.join("/");
            // What these dots are nobody knows, and they are refused.
            if !has_doubtful_dots(&path) {
                prop_assert_eq!(&*sent, format!("/{}", kept.trim_start_matches(['/', '\\'])));
            }
        }

        #[test]
        fn what_was_read_once_stays(path in path()) {
            let (sent, plain) = spellings(Cow::Borrowed(&path));
            let (again, plain_again) = spellings(Cow::Owned(sent.clone().into_owned()));
            prop_assert_eq!((&*again, &plain_again), (&*sent, &plain));
        }

        /// However a path is spelled, rules see no dots, no doubled slash, and what they see is a place of the sent one.
        #[test]
        fn rules_see_no_detour(path in path()) {
            let (sent, plain) = spellings(Cow::Borrowed(&path));
            let plain = plain.unwrap_or_else(|| sent.clone().into_owned());
            prop_assert!(!plain.contains("//"), "{}", plain);
            let is_detour = plain.split('/').any(|part| matches!(part, "." | ".."));
            prop_assert!(!is_detour || has_doubtful_dots(&path), "{} of {}", plain, path);
            for (len, _) in plain.char_indices() {
                prop_assert!(sent.is_char_boundary(sent_len(&sent, len)));
            }
            prop_assert_eq!(sent_len(&sent, usize::MAX), sent.len());
        }
    }
}
