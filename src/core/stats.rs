//! Statistics, one method a file.
