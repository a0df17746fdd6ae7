"""What users need to test their streams: messages, batches, and a Kafka in memory."""
