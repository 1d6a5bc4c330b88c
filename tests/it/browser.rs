//! The admin page in a real Chromium.
