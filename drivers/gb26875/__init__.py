"""GB/T 26875.3-2011: what a fire alarm's transmission device sends to a monitoring centre."""
