//! The data plane: accepts, looks up, picks, sends, answers.
