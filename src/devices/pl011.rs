//! The ARM PrimeCell UART (PL011), DDI 0183.
