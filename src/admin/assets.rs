//! The page's own files: they are in the binary, nothing comes from elsewhere.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

pub(super) async fn css() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../../assets/app.css"))
}

pub(super) async fn js() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("../../assets/app.js"))
}

pub(super) async fn icon() -> impl IntoResponse {
    let icon = include_str!("../../catalog/herder/catalogIcon-herder.svg");
    ([(CONTENT_TYPE, "image/svg+xml")], icon)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    const CSS: &str = include_str!("../../assets/app.css");

    /// The colours of each theme, by name: the blocks that say what the background is.
    fn themes() -> Vec<HashMap<&'static str, &'static str>> {
        let blocks = CSS.split('{').filter_map(|block| block.split('}').next());
        let themes = blocks.filter(|block| block.contains("--bg: #"));
        let colours = |block: &'static str| {
            let lines = block.split(';').filter_map(|line| line.trim().split_once(": #"));
            lines.map(|(name, colour)| (name.trim_start_matches("--"), colour)).collect()
        };
        themes.map(colours).collect()
    }

    /// Relative luminance, from 0 to 1 (WCAG 2.2, "relative luminance").
    fn luminance(colour: &str) -> f64 {
        let digits: Vec<f64> =
            colour.chars().map(|c| f64::from(c.to_digit(16).expect("a digit"))).collect();
        let channels: Vec<f64> = match digits.len() {
            3 => digits.iter().map(|digit| digit * 17.0).collect(),
            _ => digits.chunks(2).map(|pair| pair[0] * 16.0 + pair[1]).collect(),
        };
        let linear = |channel: f64| match channel / 255.0 {
            small @ ..=0.04045 => small / 12.92,
            value => ((value + 0.055) / 1.055).powf(2.4),
        };
        channels.iter().zip([0.2126, 0.7152, 0.0722]).map(|(c, weight)| linear(*c) * weight).sum()
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    }

    /// WCAG 2.2, AA: 4.5 for text (1.4.3), 3 for the edges of what can be used (1.4.11).
    #[test]
    fn texts_and_edges_can_be_told_from_their_ground() {
        assert_eq!((contrast("000", "ffffff") * 10.0).round(), 210.0);
        let themes = themes();
        assert_eq!(themes.len(), 3, "light, dark by the system, dark by the button");
        assert_eq!(themes[1], themes[2]);
        for theme in &themes[..2] {
            let check = |front: &str, ground: &str, least: f64| {
                let ratio = contrast(theme[front], theme[ground]);
                assert!(ratio >= least, "{front} on {ground}: {ratio:.2}, not {least}");
            };
            for ground in ["bg", "card", "soft", "warn-soft", "bad-soft"] {
                for text in ["text", "quiet", "accent", "ok", "warn", "bad"] {
                    check(text, ground, 4.5);
                }
            }
            for ground in ["bg", "card"] {
                check("off", ground, 4.5);
                check("edge", ground, 3.0);
            }
        }
    }
}
