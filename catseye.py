"""The roof: joins the commands of training and of service, importing each only when it is called."""
