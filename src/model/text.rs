//! Text that somebody else wrote, where people read it.

use std::borrow::Cow;

/// Whether a character is an order rather than a letter: one to a terminal, to end a line, or to show what follows in another
/// direction or not at all.
pub fn is_order(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The text with its orders written out: `\u{1b}`, `\n`.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(is_order) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match is_order(character) {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_written_out() {
        assert!(matches!(harmless("Größe 5 \u{2603}"), Cow::Borrowed(_)));
        assert_eq!(harmless("a\nb\u{1b}[31m\u{202e}\u{9b}"), "a\\nb\\u{1b}[31m\\u{202e}\\u{9b}");
    }
}
