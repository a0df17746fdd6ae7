"""How clients are let in, and why they are not: tokens, and what listens where no broker could be reached."""
