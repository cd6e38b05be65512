"""Training sounds: Debian packages to decoded pieces with labels, licences, splits and descriptions; and made
sounds."""
