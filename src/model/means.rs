//! Whose fault it is that a connection cannot be made.

use std::io;

use rustix::io::Errno;

/// Whether it is this machine that has no memory, file or port left, so that nobody else is to blame.
pub fn has_no_means(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| {
        [Errno::NOMEM, Errno::NFILE, Errno::MFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS]
            .contains(&errno)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_files_is_to_blame_and_a_server_that_refuses_is_not() {
        for (errno, is_ours) in [
            (Errno::MFILE, true),
            (Errno::NOMEM, true),
            (Errno::CONNREFUSED, false),
            (Errno::TIMEDOUT, false),
        ] {
            assert_eq!(has_no_means(&errno.into()), is_ours, "{errno:?}");
        }
        assert!(!has_no_means(&io::Error::other("in words")));
    }
}
