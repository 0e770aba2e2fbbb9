"""Building blocks of the methods: encoder, decoder, memory, discriminator."""
