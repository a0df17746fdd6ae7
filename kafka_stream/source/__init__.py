"""All that touches librdkafka to read: the consumer and its thread, the admin client, and what their errors mean."""
