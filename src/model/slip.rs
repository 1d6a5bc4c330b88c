//! Slips of the fingers: which known word somebody meant.

/// More wrong letters than this are another word.
const SLIPS_MAX: usize = 3;

/// Nobody types a longer one, in bytes: comparing two words takes as long as both lengths multiplied.
const WORD_BYTES_MAX: usize = 256;

/// How many wrong letters lie between two words, whatever their case; none where they are too far apart to be one word.
pub fn slips(one: &str, other: &str) -> Option<usize> {
    if one.len().max(other.len()) > WORD_BYTES_MAX
        || one.chars().count().abs_diff(other.chars().count()) > SLIPS_MAX
    {
        return None;
    }
    let slips = strsim::damerau_levenshtein(&one.to_lowercase(), &other.to_lowercase());
    (slips <= SLIPS_MAX).then_some(slips)
}

/// The nearest of these words, the first of several, where it is near enough to have been meant.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let near = known.into_iter().filter_map(|known| Some((slips(known, word)?, known)));
    near.min_by_key(|(slips, _)| *slips).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_few_wrong_letters_was_meant() {
        let known = ["enable", "domain", "port"];
        assert_eq!(nearest("Enabel", known), Some("enable"));
        assert_eq!(nearest("prot", known), Some("port"));
        assert_eq!(nearest("entirely", known), None);
        assert_eq!(nearest("port", []), None);
        assert_eq!(slips("port", "port"), Some(0));
        assert_eq!(slips("é", "e"), Some(1));
    }

    #[test]
    fn nobody_types_a_long_one() {
        assert_eq!(slips(&"a".repeat(257), &"a".repeat(257)), None);
    }
}
