"""What sinks keep of state, for operators: the register, users' tables as the database has them, and clearing them."""
