//! The bundle: the guests that the boot loader hands over as its initrd.
